"""Whole runs with selective encryption: right sums, what the server reads, and who may change the choice."""

import dataclasses
import io
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import nn

from fedpriv.checkpoint import Checkpoint
from fedpriv.config.compose import compose_run
from fedpriv.errors import UserError
from fedpriv.federated import client as client_module
from fedpriv.federated import collect
from fedpriv.federated.messages import MessageError
from fedpriv.federated.strategy import base
from fedpriv.he.envelope import open_envelope
from fedpriv.he.registry import build_codec
from fedpriv.he.selection import pack_selection, select_layers, unpack_selection
from fedpriv.he.selective import select
from fedpriv.runner import resume, run
from fedpriv.training.local import LocalSettings, train_plain
from fedpriv.training.parameters import FlatParameters
from tests.conftest import TINY
from tests.integration.cut_off import arm
from tests.training.tiny import TinyTask, examples, inputs

STEP = 2 * 0.5 / (2**16 - 2)
TOP = ("secure=bfv", "secure.select_top=0.3")
LAYERS = ("secure=bfv", "secure.select=[convolutions.*,*.bias]")


@pytest.fixture
def envelopes(monkeypatch):
    """Every envelope that the server has checked: (round, client) to header and body."""
    seen = {}

    def spy(data, *given, **named):
        opened = open_envelope(data, *given, **named)
        seen[opened.header.round, opened.header.client] = opened.header, bytes(opened.body)
        return opened

    monkeypatch.setattr(collect, "open_envelope", spy)
    return seen


@pytest.fixture
def chosen(monkeypatch):
    """The selections that servers bound to their strategies."""
    seen = []
    bind = base.Strategy.bind

    def spy(self, session):
        seen.append(getattr(session.codec, "selected", None))
        bind(self, session)

    monkeypatch.setattr(base.Strategy, "bind", spy)
    return seen


@pytest.mark.parametrize(
    ("overrides", "tolerance"),
    [
        (TOP, STEP),
        (LAYERS, STEP),
        (("secure=bfv_committee", "secure.holders=2", "secure.select_top=0.3"), STEP),
        (("secure=ckks", "secure.select_top=0.3"), 12 * 0.5 / 2**16),
        (("secure=ckks", "secure.keys=committee", "secure.holders=2", *LAYERS[1:]), 12 * 0.5 / 2**16),
        ((*TOP, "engine.workers=2"), STEP),
    ],
)
def test_a_round_gives_the_plain_model_exactly_where_it_is_in_clear(tiny, chosen, overrides, tolerance):
    plain = run(tiny("federation.rounds=1"))
    report = run(tiny("federation.rounds=1", *overrides))
    selected, last = chosen[-1], report.history[-1]
    assert chosen[0] is None
    assert 0 < selected.sum() < len(selected)
    assert np.array_equal(report.parameters[~selected], plain.parameters[~selected])
    difference = np.abs(report.parameters[selected] - plain.parameters[selected])
    assert 0 < difference.max() <= 4 * tolerance
    assert last.failures == {}
    assert last.clear_fraction == pytest.approx(1 - selected.mean())
    assert plain.history[-1].clear_fraction == 0.0


def test_what_the_server_reads_of_one_client_is_exactly_what_was_not_selected(tiny, envelopes, chosen):
    run(tiny("federation.rounds=1"))
    true = {key: np.frombuffer(body, "<f4") for key, (_, body) in envelopes.items()}
    envelopes.clear()
    run(tiny("federation.rounds=1", *TOP))
    selected = chosen[-1]
    assert selected.sum() == -(-3 * len(selected) // 10)
    encrypted = build_codec("bfv", 4).body_bytes(int(selected.sum()))
    for number in range(4):
        header, body = envelopes[1, number]
        update = true[1, number]
        read = np.frombuffer(body, "<f4", offset=encrypted)
        assert len(body) == header.body_bytes == encrypted + 4 * int((~selected).sum())
        assert np.array_equal(read, update[~selected])
        # the price of the option: this is the direction of one client's update, not of a sum
        truth = update[~selected].astype(np.float64)
        assert read @ truth / (np.linalg.norm(read) * np.linalg.norm(truth)) == pytest.approx(1.0)
        assert truth @ truth > 0.05 * float(update @ update)


def test_a_first_layer_left_in_clear_gives_the_picture_back():
    """One step on one picture x changes a linear layer by -rate g x' and its bias by -rate g."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 4), nn.Tanh(), nn.Linear(4, 1))
    data, flat = examples(1), FlatParameters(model)
    before = flat.read()
    settings = LocalSettings(learning_rate=0.1, momentum=0.0, batch_size=1)
    train_plain(TinyTask(), model, None, data, settings, seed=0)
    update = flat.change_since(before)

    def clear_part(pattern):
        selected = select_layers(flat.layout.names, flat.layout.shapes, [pattern])
        codec = select(build_codec("plain", 2), selected)
        body = codec.encode(update, np.random.default_rng(0)).body
        return np.frombuffer(body, "<f4", offset=4 * int(selected.sum()))

    read = clear_part("3.*")
    found = read[:48].reshape(4, 12) / read[48:, None]
    picture = inputs(data).flatten().numpy()
    np.testing.assert_allclose(found, np.tile(picture, (4, 1)), rtol=1e-2, atol=1e-3)
    # encrypting the biases alone already takes this recipe away, not the direction of the picture
    row = clear_part("*.bias")[:12]
    cosine = row @ picture / (np.linalg.norm(row) * np.linalg.norm(picture))
    assert abs(cosine) == pytest.approx(1.0, abs=1e-4)


def test_the_map_is_encrypted_whole_and_only_its_sum_is_opened(tiny, envelopes, chosen):
    report = run(tiny("federation.rounds=2", *TOP))
    size = len(report.parameters)
    whole = build_codec("bfv", 4)
    assert sorted(envelopes) == [(number, client) for number in range(3) for client in range(4)]
    for (number, _), (header, body) in envelopes.items():
        assert (len(body) == whole.body_bytes(size)) is (number == 0)
        assert header.codec == envelopes[number, 0][0].codec
    assert envelopes[0, 0][0].codec != envelopes[1, 0][0].codec == envelopes[2, 0][0].codec
    start = report.history[0]
    assert start.bytes_up == 4 * (320 + whole.mask_bytes(size) + whole.body_bytes(size))
    assert start.bytes_down == 4 * 4 * size
    assert start.bytes_keyholders > 0
    assert report.history[1].bytes_down == 4 * (4 * size + len(pack_selection(chosen[-1])))


def test_every_client_is_asked_for_its_map_whatever_the_cohort(tiny, envelopes):
    report = run(tiny("federation.rounds=1", "federation.cohort=2", *TOP))
    assert sorted(client for number, client in envelopes if number == 0) == [0, 1, 2, 3]
    assert (report.history[1].asked, report.history[1].replied) == (2, 2)


@pytest.fixture
def broken_maps(monkeypatch):
    """Let some clients send no usable map."""
    honest = client_module.sensitivity

    def arm_clients(*numbers):
        def sensitivity(site, client, request):
            if client in numbers:
                raise MessageError("non_finite")
            return honest(site, client, request)

        monkeypatch.setattr(client_module, "sensitivity", sensitivity)

    return arm_clients


def test_a_client_without_a_map_is_counted_and_still_trains(tiny, broken_maps, caplog):
    broken_maps(1)
    with caplog.at_level(logging.WARNING, "fedpriv"):
        report = run(tiny("federation.rounds=1", *TOP))
    assert report.history[0].failures == {"non_finite": 1}
    assert report.history[1].replied == 4
    assert "3 of 4 clients sent a usable sensitivity map (non_finite x1)" in caplog.text


def moved(packed, size):
    """Select another coordinate in place of the first one."""
    selected = np.unpackbits(np.frombuffer(packed, np.uint8), count=size, bitorder="little").view(np.bool_)
    selected = selected.copy()
    selected[[np.flatnonzero(selected)[0], np.flatnonzero(~selected)[-1]]] = False, True
    return pack_selection(selected)


@pytest.mark.parametrize("change", ["moved", "fewer", "none"])
def test_clients_refuse_a_server_that_changes_its_choice(tiny, monkeypatch, change):
    configure = base.Strategy.configure_train

    def cheat(self, server_round, *given):
        if server_round == 2:
            packed = self.session.selection
            other = {
                "moved": moved(packed, self.session.layout.size),
                "fewer": bytes(len(packed)),
                "none": None,
            }
            data = other[change]
            self._chosen = None if data is None else base.messages.pack_chosen(data)
        return configure(self, server_round, *given)

    monkeypatch.setattr(base.Strategy, "configure_train", cheat)
    with pytest.raises(UserError, match=r"round 2: none of the 4 clients .* \(wrong_selection x4\)"):
        run(tiny(*TOP))


def test_key_holders_refuse_a_server_that_changes_its_choice(tiny, monkeypatch):
    open_sum = base.open_sum

    def cheat(grid, nodes, enrolment, run_id, server_round, aggregator, accepted, timeout_s, selection):
        if server_round == 2:
            selection = moved(selection, aggregator.length)
        return open_sum(
            grid, nodes, enrolment, run_id, server_round, aggregator, accepted, timeout_s, selection
        )

    monkeypatch.setattr(base, "open_sum", cheat)
    with pytest.raises(UserError, match=r"round 2: key holder 0 refused \(wrong_selection\)"):
        run(tiny(*TOP))


def test_holders_open_nothing_for_clients_that_encrypted_another_selection(tiny, monkeypatch):
    """The holders' first selection is not the one that the clients signed for."""
    open_sum = base.open_sum

    def cheat(grid, nodes, enrolment, run_id, server_round, aggregator, accepted, timeout_s, selection):
        selection = moved(selection, aggregator.length)
        return open_sum(
            grid, nodes, enrolment, run_id, server_round, aggregator, accepted, timeout_s, selection
        )

    monkeypatch.setattr(base, "open_sum", cheat)
    with pytest.raises(UserError, match=r"round 1: key holder 0 refused \(wrong_parameters\)"):
        run(tiny(*TOP))


@pytest.mark.parametrize("overrides", [TOP, LAYERS])
def test_the_share_in_clear_is_warned_about_once_logged_and_shown(
    tiny, tmp_path, caplog, overrides, database
):
    from mlflow import MlflowClient

    console = Console(file=io.StringIO(), width=200)
    uri = database(tmp_path / "mlflow.db")
    config = tiny(*overrides, "tracking=mlflow", f"tracking.uri={uri}", "tracking.log_model=false")
    with caplog.at_level(logging.WARNING, "fedpriv"):
        report = run(config, [], tmp_path, console)
    share = report.history[-1].clear_fraction
    text = f"{100 * share:.3g} % of every update"
    assert caplog.text.count("selective encryption: " + text) == 1
    assert text in console.file.getvalue()
    logged = MlflowClient(uri).get_run(report.mlflow_run_id).data.metrics
    assert logged["secure_clear_fraction"] == pytest.approx(share)


def test_nothing_is_said_where_nothing_is_in_clear(tiny, caplog):
    console = Console(file=io.StringIO(), width=200)
    with caplog.at_level(logging.WARNING, "fedpriv"):
        report = run(tiny("secure=bfv", "secure.select=[*]"), [], None, console)
    assert "clear" not in caplog.text
    assert "CLEAR" not in console.file.getvalue()
    assert report.history[-1].clear_fraction == 0.0
    whole = run(tiny("secure=bfv"))
    assert whole.parameters.tobytes() == report.parameters.tobytes()


class Cut(BaseException):
    """Ends a run in the middle of a round."""


def test_a_resumed_run_goes_on_with_the_choice_it_had(tmp_path: Path, monkeypatch, envelopes, chosen):
    overrides = (*TINY, "federation.rounds=3", *TOP)
    whole = run(compose_run(*overrides))

    def end():
        raise Cut

    with monkeypatch.context() as patch:
        arm(patch.setattr, 2, 1, end)
        with pytest.raises(Cut):
            run(compose_run(*overrides), output_dir=tmp_path)
    kept = Checkpoint(tmp_path).load().kept.selection
    size, count = len(whole.parameters), int(chosen[0].sum())
    assert np.array_equal(unpack_selection(kept, size, count), chosen[0])
    envelopes.clear()
    report = resume(tmp_path)
    assert 0 not in {number for number, _ in envelopes}
    assert all(np.array_equal(each, chosen[0]) for each in chosen)
    assert report.parameters.tobytes() == whole.parameters.tobytes()


def test_a_damaged_choice_in_a_checkpoint_is_refused(tmp_path: Path, monkeypatch):
    def end():
        raise Cut

    with monkeypatch.context() as patch:
        arm(patch.setattr, 2, 1, end)
        with pytest.raises(Cut):
            run(compose_run(*TINY, *TOP), output_dir=tmp_path)
    checkpoint = Checkpoint(tmp_path)
    snapshot = checkpoint.load()
    kept = dataclasses.replace(snapshot.kept, selection=bytes(len(snapshot.kept.selection)))
    checkpoint.save(dataclasses.replace(snapshot, kept=kept))
    with pytest.raises(UserError, match="checkpoint: selection: 0 coordinates"):
        resume(tmp_path)


def test_a_client_asked_for_a_map_that_its_configuration_does_not_want_refuses(tiny, monkeypatch):
    """A server cannot have maps made where differential privacy or the configuration excludes them."""
    from fedpriv.federated import server_app
    from fedpriv.federated.server_app import serve

    def cheat(grid, plan):
        plan.select_top = 0.3
        return serve(grid, plan)

    monkeypatch.setattr(server_app, "serve", cheat)
    with pytest.raises(UserError, match="wrong_selection x4"):
        run(tiny("secure=bfv"))
