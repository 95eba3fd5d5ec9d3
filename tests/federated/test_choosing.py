"""Whole runs in which round 0 gives no sum of sensitivity maps: all is encrypted, and training goes on."""

import logging
from dataclasses import replace

import numpy as np
import pytest

from fedpriv.checkpoint import Checkpoint
from fedpriv.errors import UserError
from fedpriv.federated import choosing
from fedpriv.federated import client as module
from fedpriv.federated.messages import MessageError
from fedpriv.federated.release import Opened
from fedpriv.federated.strategy import base
from fedpriv.he.selection import pack_selection
from fedpriv.runner import resume, run
from tests.integration.cut_off import arm

CHOOSES = ("secure.select_top=0.3",)
SCHEMES = {
    "bfv": ("secure=bfv",),
    "bfv committee": ("secure=bfv_committee", "secure.holders=2"),
    "ckks": ("secure=ckks",),
}


class Garbage:
    """A codec whose bodies have the right form and a thousand broken residues."""

    def __init__(self, inner):
        self._inner = inner

    def __getattr__(self, name):
        return getattr(self._inner, name)

    def encode_into(self, vector, mask, body, *given):
        clipped = self._inner.encode_into(vector, mask, body, *given)
        assert len(body) > 27_000
        body[25_000:27_000] = np.random.default_rng(1).bytes(2000)
        return clipped


@pytest.fixture
def garbage(monkeypatch):
    """Let client 2 sign garbage in some rounds."""
    checked = module._checked

    def install(*rounds):
        def spoilt(site, client, request):
            codec, signer = checked(site, client, request)
            return (Garbage(codec) if client == 2 and request.round in rounds else codec), signer

        monkeypatch.setattr(module, "_checked", spoilt)

    return install


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_map_of_garbage_has_everything_encrypted_and_the_run_goes_on(
    tiny, tmp_path, garbage, caplog, scheme
):
    garbage(0)
    with caplog.at_level(logging.WARNING, "fedpriv"):
        report = run(tiny(*SCHEMES[scheme], *CHOOSES), output_dir=tmp_path)
    assert [result.failures for result in report.history] == [{"sum_refused": 4}, {}, {}]
    assert [result.replied for result in report.history] == [0, 4, 4]
    assert [result.clear_fraction for result in report.history] == [0.0] * 3
    assert report.history[0].bytes_keyholders > 0
    assert "round 0 discarded" in caplog.text
    assert "(not_a_sum)" in caplog.text
    assert caplog.text.count("secure.select_top=0.3: without a choice every coordinate is encrypted") == 1
    everything = pack_selection(np.ones(len(report.parameters), np.bool_))
    assert Checkpoint(tmp_path).load().kept.selection == everything
    # and so it is the run that never meant to choose
    whole = run(tiny(*SCHEMES[scheme]))
    assert [result.update_bytes for result in report.history] == [r.update_bytes for r in whole.history]
    if scheme != "ckks":  # its sums carry fresh noise
        assert report.parameters.tobytes() == whole.parameters.tobytes()


def test_a_refused_sum_of_maps_is_one_of_three_in_a_row(tiny, garbage):
    garbage(0, 1, 2)
    with pytest.raises(
        UserError, match=r"^round 2: .*\(not_a_sum\).*; 3 rounds in a row had no sum to open$"
    ):
        run(tiny(*SCHEMES["bfv"], *CHOOSES, "federation.rounds=4"))


@pytest.fixture
def silent_maps(monkeypatch):
    honest = module.sensitivity

    def install(*clients):
        def sensitivity(site, client, request):
            if client in clients:
                raise MessageError("non_finite")
            return honest(site, client, request)

        monkeypatch.setattr(module, "sensitivity", sensitivity)

    return install


def test_too_few_maps_have_everything_encrypted_and_are_not_opened(tiny, silent_maps, caplog):
    silent_maps(0, 1, 2)
    report = run(tiny(*SCHEMES["bfv"], *CHOOSES))
    assert report.history[0].failures == {"non_finite": 3, "round_discarded": 1}
    assert report.history[0].bytes_keyholders == 0
    assert (report.history[2].replied, report.history[2].clear_fraction) == (4, 0.0)
    assert "1 of 4 clients sent a usable sensitivity map (non_finite x3)" in caplog.text
    assert "round 0 discarded: federation.min_replies=2" in caplog.text


def test_no_map_at_all_ends_the_run_before_its_first_round(tiny, silent_maps):
    silent_maps(0, 1, 2, 3)
    with pytest.raises(UserError) as caught:
        run(tiny(*SCHEMES["bfv"], *CHOOSES))
    assert str(caught.value) == (
        "secure.select_top=0.3: 0 of 4 clients sent a usable sensitivity map (non_finite x4); see the "
        "clients' logs"
    )


def alike(total):
    return np.full_like(total, 0.5)


def nothing(total):
    return np.zeros_like(total)


def with_nan(total):
    return np.where(np.arange(len(total)) == 7, np.nan, total)


def with_infinity(total):
    return np.where(np.arange(len(total)) == 7, np.inf, total)


@pytest.mark.parametrize("change", [alike, nothing, with_nan, with_infinity])
def test_a_sum_that_names_no_coordinate_is_not_chosen_by(tiny, monkeypatch, caplog, change):
    real = choosing.open_sum

    def opened(*given):
        made = real(*given)
        return Opened(change(made.total), made.traffic)

    monkeypatch.setattr(choosing, "open_sum", opened)
    report = run(tiny(*SCHEMES["bfv"], *CHOOSES, "federation.rounds=1"))
    assert (report.history[1].replied, report.history[1].clear_fraction) == (4, 0.0)
    assert "round 0 discarded: the sum of all sensitivity maps names no coordinate" in caplog.text


class Cut(BaseException):
    """Ends a run in the middle of a round."""


def test_a_resumed_run_goes_on_encrypting_everything(tiny, tmp_path, monkeypatch, garbage):
    garbage(0)
    overrides = (*SCHEMES["bfv"], *CHOOSES, "federation.rounds=3")
    whole = run(tiny(*overrides))

    def end():
        raise Cut

    with monkeypatch.context() as patch:
        arm(patch.setattr, 2, 1, end)
        with pytest.raises(Cut):
            run(tiny(*overrides), output_dir=tmp_path)
    report = resume(tmp_path)
    assert [result.clear_fraction for result in report.history] == [0.0] * 4
    assert report.history[0].failures == {"sum_refused": 4}
    assert report.parameters.tobytes() == whole.parameters.tobytes()


@pytest.mark.parametrize(
    ("overrides", "number", "cause"),
    [
        ((), 0, "wrong_round"),
        ((), 3, "wrong_round"),
        (CHOOSES, 3, "wrong_round"),
        (CHOOSES, 0, "already_released"),
    ],
)
def test_key_holders_open_no_round_but_those_that_are_planned(tiny, monkeypatch, overrides, number, cause):
    """The server calls round 2 of 2 otherwise, before everybody; without maps there is no round 0."""
    configure, aggregate = base.Strategy.configure_train, base.Strategy.aggregate_train
    told, train = {2: number}, module.train

    def willing(site, partition, request, memory):
        """A client would refuse round 0 by itself: let it train, and say 0 in the header."""
        seal = module._seal

        def as_asked(site, codec, signer, client, asked, *given):
            return seal(site, codec, signer, client, replace(asked, round=request.round), *given)

        with monkeypatch.context() as patch:
            patch.setattr(module, "_seal", as_asked)
            return train(site, partition, replace(request, round=max(1, request.round)), memory)

    monkeypatch.setattr(module, "train", willing)

    def ask(self, at, *given):
        return configure(self, told.get(at, at), *given)

    def add(self, at, replies):
        return aggregate(self, told.get(at, at), replies)

    monkeypatch.setattr(base.Strategy, "configure_train", ask)
    monkeypatch.setattr(base.Strategy, "aggregate_train", add)
    with pytest.raises(UserError, match=rf"^round {number}: key holder 0 refused \({cause}\)"):
        run(tiny(*SCHEMES["bfv"], *overrides))
