"""Whole runs with a server that wants one client's update: the key holders open nothing for it.

The server of these runs lies to its clients and expects their replies to be as it lied, so that all of
them are in the sum; what remains are the key holders.
"""

import json
from dataclasses import replace

import numpy as np
import pytest
from flwr.app import Message

from fedpriv import apps
from fedpriv.config.as_json import from_json, run_digest
from fedpriv.errors import UserError
from fedpriv.federated import choosing, messages
from fedpriv.federated import client as module
from fedpriv.federated.collect import Collector
from fedpriv.federated.messages import TrainRequest
from fedpriv.federated.roster import Roster
from fedpriv.federated.start import codec_of_run, start_digest
from fedpriv.federated.strategy import base
from fedpriv.he.selection import pack_selection
from fedpriv.runner import run
from fedpriv.training.party import ClientMemory

VICTIM = 1
SCHEMES = {
    "bfv": ("secure=bfv",),
    "bfv committee": ("secure=bfv_committee",),
    "ckks": ("secure=ckks",),
}


@pytest.fixture
def seen(monkeypatch):
    """What the reviewer of a run sees: each client's update in clear, and each opened sum, by round."""
    updates, sums = {}, {}
    seal = module._seal

    def spy_seal(site, codec, signer, client, request, update, kind="update"):
        updates[client, request.round] = update.copy()
        return seal(site, codec, signer, client, request, update, kind)

    monkeypatch.setattr(module, "_seal", spy_seal)
    for place in (base, choosing):

        def spy_open(grid, nodes, enrolment, run_id, number, *given, real=place.open_sum):
            opened = real(grid, nodes, enrolment, run_id, number, *given)
            sums[number] = opened.total
            return opened

        monkeypatch.setattr(place, "open_sum", spy_open)
    return updates, sums


def isolate_by_weight(monkeypatch):
    monkeypatch.setattr(Roster, "weight", lambda self, member: 1.0 if member.partition == VICTIM else 1e-30)


def isolate_by_start(monkeypatch, change):
    """Send everybody but the victim what ``change`` makes of model and settings."""
    configure, starts = base.Strategy.configure_train, {}

    def lie(self, number, arrays, *given):
        told = []
        honest = list(configure(self, number, arrays, *given))
        for message, (member, weight) in zip(honest, self._current.asked, strict=True):
            request = TrainRequest.from_content(message.content)
            settings, model = dict(request.settings), request.parameters
            if member.partition != VICTIM:
                settings, model = change(settings, model)
            lied = TrainRequest(request.run_id, number, weight, settings, model)
            content = lied.to_content(messages.pack_parameters(model), self._key, self._chosen)
            told.append(Message(content, member.node_id, messages.TRAIN, group_id=str(number)))
            run = self.session.run_digest
            starts[member.partition] = start_digest(run, model, settings), run
        return told

    monkeypatch.setattr(base.Strategy, "configure_train", lie)
    return starts


def isolate_by_configuration(monkeypatch, **lies):
    """Hand everybody but the victim the run's configuration with other values in it."""
    build, train, texts = apps.build_site, module.train, []
    configure, starts = base.Strategy.configure_train, {}

    def told(client):
        plain = json.loads(texts[0])
        if client != VICTIM:
            for group, values in lies.items():
                plain[group] = {**plain[group], **values}
        return json.dumps(plain)

    def spy(text):
        texts.append(text)
        return build(text)

    def lied(site, client, request, memory):
        return train(build(told(client)), client, request, memory)

    def keep(self, number, arrays, *given):
        asked = list(configure(self, number, arrays, *given))
        model = messages.unpack_parameters(arrays)
        for client in range(4):
            lied = run_digest(from_json(told(client)))
            starts[client] = start_digest(lied, model, {}), lied
        return asked

    monkeypatch.setattr(apps, "build_site", spy)
    monkeypatch.setattr(module, "train", lied)
    monkeypatch.setattr(base.Strategy, "configure_train", keep)
    return starts


def expect_the_lies(monkeypatch, starts):
    """Let the server take every reply as it lied; its own check would stop the attack before."""
    add = Collector._add

    def lenient(self, reply, member, weight):
        self._start, run_lied = starts[member.partition]
        self._codec_digest = codec_of_run(self._session.codec.digest, run_lied)
        add(self, reply, member, weight)

    monkeypatch.setattr(Collector, "_add", lenient)


def of_zeros(settings, model):
    return settings, np.zeros_like(model)


def of_settings(settings, model):
    return {**settings, "proximal-mu": 1e6}, model


@pytest.mark.parametrize("scheme", SCHEMES)
def test_an_honest_run_opens_sums_that_are_of_everybody(tiny, seen, scheme):
    updates, sums = seen
    report = run(tiny(*SCHEMES[scheme]))
    assert [result.failures for result in report.history] == [{}] * 3
    assert sorted(sums) == [1, 2]
    for number, opened in sums.items():
        total = sum(updates[client, number].astype(float) for client in range(4))
        np.testing.assert_allclose(opened, total, atol=1e-3)
        alone = np.linalg.norm(opened - updates[VICTIM, number]) / np.linalg.norm(opened)
        assert alone > 0.1


@pytest.mark.parametrize(
    "overrides", [("federation.cohort=3",), ("strategy=fedprox",)], ids=["cohort", "settings"]
)
def test_clients_of_unequal_size_are_opened_in_cohorts_and_with_settings(tiny, monkeypatch, seen, overrides):
    weights, weight = set(), Roster.weight

    def spy(self, member):
        weights.add(weight(self, member))
        return weight(self, member)

    monkeypatch.setattr(Roster, "weight", spy)
    report = run(tiny("secure=bfv", "partition=quantity_skew", "federation.rounds=3", *overrides))
    assert [result.failures for result in report.history] == [{}] * 4
    assert sorted(seen[1]) == [1, 2, 3]
    assert len(weights) > 2


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_server_that_weighs_one_client_above_all_opens_nothing(tiny, monkeypatch, seen, scheme):
    isolate_by_weight(monkeypatch)
    with pytest.raises(UserError, match=r"^round 1: key holder 0 refused \(wrong_weight\)"):
        run(tiny(*SCHEMES[scheme]))
    updates, sums = seen
    assert sums == {}
    others = max(np.abs(updates[client, 1]).max() for client in range(4) if client != VICTIM)
    assert others < 1e-25 < np.abs(updates[VICTIM, 1]).max()  # it would have been the victim's


@pytest.mark.parametrize("change", [of_zeros, of_settings])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_server_that_starts_one_client_elsewhere_opens_nothing(tiny, monkeypatch, seen, scheme, change):
    expect_the_lies(monkeypatch, isolate_by_start(monkeypatch, change))
    with pytest.raises(UserError, match=r"^round 1: key holder 0 refused \(wrong_model\)"):
        run(tiny(*SCHEMES[scheme]))
    updates, sums = seen
    assert len(updates) == 4
    assert sums == {}


IDLE = {"training": {"learning_rate": 1e-30}}
CLIPPED = {"privacy": {"clipping_norm": 1e-12}}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_server_that_configures_one_client_otherwise_opens_nothing(tiny, monkeypatch, seen, scheme):
    """All sign one model, the same settings and like weights; only what they were told to do differs."""
    expect_the_lies(monkeypatch, isolate_by_configuration(monkeypatch, **IDLE))
    with pytest.raises(UserError, match=r"^round 1: key holder 0 refused \(wrong_parameters\)"):
        run(tiny(*SCHEMES[scheme]))
    updates, sums = seen
    assert (len(updates), sums) == (4, {})
    others = max(np.abs(updates[client, 1]).max() for client in range(4) if client != VICTIM)
    assert others < 1e-25 < np.abs(updates[VICTIM, 1]).max()  # it would have been the victim's


def test_nor_does_one_that_clips_the_gradients_of_all_others_away(tiny, monkeypatch, seen):
    expect_the_lies(monkeypatch, isolate_by_configuration(monkeypatch, **CLIPPED))
    with pytest.raises(UserError, match=r"^round 1: key holder 0 refused \(wrong_parameters\)"):
        run(tiny("secure=bfv", "privacy=dp_sgd", "privacy.noise_multiplier=1", "privacy.epsilon=null"))
    updates, sums = seen
    assert (len(updates), sums) == (4, {})
    others = max(np.abs(updates[client, 1]).max() for client in range(4) if client != VICTIM)
    assert others < 1e-6 < 1e-4 < np.abs(updates[VICTIM, 1]).max()


def test_an_honest_server_drops_what_was_trained_under_another_configuration(tiny, monkeypatch, seen):
    isolate_by_configuration(monkeypatch, **IDLE)
    report = run(tiny("secure=bfv", "federation.rounds=1"))
    assert report.history[-1].failures == {"wrong_model": 3, "round_discarded": 1}
    assert seen[1] == {}


def test_an_honest_server_drops_what_was_made_from_another_model(tiny, monkeypatch, seen):
    """The lie is the network's: the server's own check names it, and the victim is alone and unopened."""
    isolate_by_start(monkeypatch, of_zeros)
    report = run(tiny("secure=bfv", "federation.rounds=1"))
    assert report.history[-1].failures == {"wrong_model": 3, "round_discarded": 1}
    assert seen[1] == {}


def test_no_sensitivity_map_is_isolated_either(tiny, monkeypatch, seen):
    """Round 0 goes by the same rules as the rounds of training."""
    honest = ("secure=bfv", "secure.select_top=0.25", "federation.rounds=1")
    run(tiny(*honest))
    assert sorted(seen[1]) == [0, 1]
    seen[1].clear()
    isolate_by_weight(monkeypatch)
    with pytest.raises(UserError, match=r"^round 0: key holder 0 refused \(wrong_weight\)"):
        run(tiny(*honest))
    assert seen[1] == {}


ALL_BUT_ONE_TOLD = {
    "fewer clients": {"secure": {"min_clients": 2}},
    "another last round": {"federation": {"rounds": 1000}},
    "fewer replies": {"federation": {"min_replies": 2}},
}


@pytest.mark.parametrize("lie", ALL_BUT_ONE_TOLD)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_key_holder_that_is_told_another_configuration_than_the_clients_opens_nothing(
    tiny, monkeypatch, seen, scheme, lie
):
    """Its fewest clients and its last round are from its own text, which is the server's word."""
    build = apps.build_keyholder

    def lied(text, number):
        plain = json.loads(text)
        for group, values in ALL_BUT_ONE_TOLD[lie].items():
            plain[group] = {**plain[group], **values}
        return build(json.dumps(plain), number)

    monkeypatch.setattr(apps, "build_keyholder", lied)
    changed = ("secure.min_clients=3", "federation.min_replies=3")
    with pytest.raises(
        UserError, match=r"^round 1: key holder 0 refused \((wrong_parameters|misconfigured)\)"
    ):
        run(tiny(*SCHEMES[scheme], *changed))
    assert seen[1] == {}


def as_an_update(monkeypatch):
    """Ask the victim for its update as if that were its map; the others' maps a server can make zero."""
    answer = module.sensitivity

    def lied(site, client, request):
        if client != VICTIM:
            return answer(site, client, request)
        everything = pack_selection(np.ones(len(request.parameters), np.bool_))
        return module.train(site, client, replace(request, selection=everything), ClientMemory())

    monkeypatch.setattr(module, "sensitivity", lied)


@pytest.mark.parametrize("scheme", ["bfv", "bfv committee"])
def test_no_update_is_taken_for_a_sensitivity_map(tiny, monkeypatch, seen, scheme):
    as_an_update(monkeypatch)
    options = ("secure.select_top=0.25", "federation.rounds=1", "training.schedule=constant")
    report = run(tiny(*SCHEMES[scheme], *options))
    assert report.history[0].failures["wrong_round"] == 1
    assert (VICTIM, 0) not in seen[0]


@pytest.mark.parametrize("scheme", ["bfv", "bfv committee"])
def test_nor_would_a_client_that_seals_one_be_added(tiny, monkeypatch, seen, caplog, scheme):
    """Were the client's own check missing, header and key holder would still tell one from the other."""
    as_an_update(monkeypatch)
    train = module.train

    def as_round_one(site, client, request, memory):
        if request.round > 0:
            return train(site, client, request, memory)
        sealing = module._seal

        def of_round_zero(site, codec, signer, client, asked, update, kind="update"):
            return sealing(site, codec, signer, client, replace(asked, round=0), update, kind)

        with monkeypatch.context() as patch:
            patch.setattr(module, "_seal", of_round_zero)
            return train(site, client, replace(request, round=1), memory)

    monkeypatch.setattr(module, "train", as_round_one)
    options = ("secure.select_top=0.25", "federation.rounds=1", "training.schedule=constant")
    # the clients of a simulation share their memory of the choice, and the victim was shown another
    with pytest.raises(UserError, match=r"wrong_selection x4"):
        run(tiny(*SCHEMES[scheme], *options))
    assert (VICTIM, 0) in seen[0]
    assert "3 of 4 clients sent a usable sensitivity map (wrong_model x1)" in caplog.text
