"""Whole runs under every scheme with one client that cheats: refused by name, and the run goes on."""

import dataclasses
import os

import numpy as np
import pytest

from fedpriv.checkpoint import Checkpoint
from fedpriv.config.privacy import sum_plan_of
from fedpriv.errors import UserError
from fedpriv.federated import client as module
from fedpriv.federated.strategy.books import releases
from fedpriv.he.envelope import SIGNED_BYTES, Draft
from fedpriv.runner import run

SCHEMES = {
    "plain": (),
    "bfv": ("secure=bfv",),
    "bfv committee": ("secure=bfv_committee",),
    "ckks": ("secure=ckks",),
    "ckks committee": ("secure=ckks", "secure.keys=committee", "secure.holders=2"),
}
TRAIN = module.train


class Cheat:
    """In place of ``client.train``: client 2 cheats in round 2 and is honest otherwise."""

    def __init__(self, cheat):
        self.cheat, self.sent = cheat, {}

    def __call__(self, site, client, request, memory):
        if (client, request.round) != (2, 2):
            reply = TRAIN(site, client, request, memory)
            self.sent[client, request.round] = reply.sealed
            return reply
        return self.cheat(self, site, request, memory)


def replayed(self, site, request, memory):
    return dataclasses.replace(TRAIN(site, 2, request, memory), sealed=self.sent[2, 1])


def copied(self, site, request, memory):
    """What client 1 signed for this very round."""
    return dataclasses.replace(TRAIN(site, 2, request, memory), sealed=self.sent[1, 2])


def heavier(self, site, request, memory):
    return TRAIN(site, 2, dataclasses.replace(request, weight=request.weight / 2), memory)


def _changed(change):
    def cheat(self, site, request, memory):
        reply = TRAIN(site, 2, request, memory)
        return dataclasses.replace(reply, sealed=change(reply.sealed))

    return cheat


def unsigned(sealed):
    return sealed[: SIGNED_BYTES - 64] + bytes(64) + sealed[SIGNED_BYTES:]


CHEATS = {
    "wrong_round": replayed,
    "wrong_client": copied,
    "wrong_weight": heavier,
    "forged": _changed(unsigned),
    "oversized": _changed(lambda sealed: sealed + b"\0"),
    "truncated": _changed(lambda sealed: sealed[:-1]),
    "tampered": _changed(lambda sealed: sealed[:-1] + bytes([sealed[-1] ^ 1])),
}


# the envelope is the same under every scheme; two causes show that the holders' work is not disturbed
CASES = [
    (scheme, cause)
    for scheme in SCHEMES
    for cause in CHEATS
    if scheme == "plain" or cause in ("forged", "wrong_round")
]


@pytest.mark.parametrize(("scheme", "cause"), CASES)
def test_a_client_that_cheats_is_counted_by_cause_and_the_run_goes_on(tiny, monkeypatch, scheme, cause):
    monkeypatch.setattr(module, "train", Cheat(CHEATS[cause]))
    report = run(tiny(*SCHEMES[scheme], "federation.rounds=3"))
    assert [result.failures for result in report.history] == [{}, {}, {cause: 1}, {}]
    assert [result.replied for result in report.history] == [0, 4, 3, 4]
    assert np.isfinite(report.parameters).all()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_one_clients_update_alone_never_makes_a_model(tiny, monkeypatch, scheme):
    """With min_replies = min_clients = 2 and one client left the round is discarded, unopened."""
    report = run(
        tiny(*SCHEMES[scheme], "federation.faults=[0:raise,1:nan,2:raise]", "federation.rounds=1"),
    )
    assert report.history[-1].failures == {"exception": 2, "non_finite": 1, "round_discarded": 1}
    before = run(tiny("training.learning_rate=1e-30", "federation.rounds=1")).parameters
    np.testing.assert_allclose(report.parameters, before, atol=1e-7)
    assert report.history[-1].seconds["decrypt"] == 0.0


# garbage of the right form that an enrolled client signs: no check of the envelope is against it


def bad_mask(mask, body):
    """Of a committee, no residue is below its prime; of an authority, the seed of another polynomial."""
    return b"\xff" * len(mask), body


def bad_body(mask, body):
    """Other low bits in a thousand residues: below their primes still, and far from any message's."""
    assert len(body) > 27_000
    spoilt = bytearray(body)
    spoilt[25_000:27_000] = os.urandom(2000)
    return mask, bytes(spoilt)


@pytest.fixture
def garbage(monkeypatch):
    """Let client 2 sign garbage in some rounds."""
    seal = Draft.seal

    def install(spoil, rounds):
        def sealing(draft, header, key):
            if header.client == 2 and header.round in rounds:
                draft.mask[:], draft.body[:] = spoil(bytes(draft.mask), bytes(draft.body))
            return seal(draft, header, key)

        monkeypatch.setattr(Draft, "seal", sealing)

    return install


ENCRYPTED = [scheme for scheme in SCHEMES if scheme != "plain"]
GARBAGE = [(scheme, spoil) for scheme in ENCRYPTED for spoil in (bad_mask, bad_body)]


@pytest.mark.parametrize(("scheme", "spoil"), GARBAGE)
def test_garbage_that_a_client_signed_does_not_end_the_run(tiny, garbage, caplog, scheme, spoil):
    garbage(spoil, {2})
    report = run(tiny(*SCHEMES[scheme], "federation.rounds=3"))
    if "committee" in scheme and spoil is bad_mask:
        found, replied = {"malformed": 1}, 3
    else:
        found, replied = {"sum_refused": 4}, 0
        assert "round 2 discarded: its 4 updates are no sum (not_a_sum)" in caplog.text
    assert [result.failures for result in report.history] == [{}, {}, found, {}]
    assert [result.replied for result in report.history] == [0, 4, replied, 4]
    shown = [result.bytes_keyholders for result in report.history]
    if replied == 0:
        # an authority gives no answer then, of 8 bytes per parameter; a committee notices nothing
        assert shown[3] - shown[2] == (0 if "committee" in scheme else 8 * len(report.parameters))
    assert report.history[2].seconds["decrypt"] > 0.0
    assert np.isfinite(report.parameters).all()


def test_a_mask_that_holders_would_refuse_costs_its_own_client_and_nobody_else(tiny, garbage):
    committee = (*SCHEMES["bfv committee"], "federation.rounds=1")
    without = run(tiny(*committee, "federation.faults=[2:raise]")).parameters
    garbage(bad_mask, {1})
    report = run(tiny(*committee))
    assert report.history[1].failures == {"malformed": 1}
    assert report.parameters.tobytes() == without.tobytes()


@pytest.mark.parametrize("scheme", ["bfv", "bfv committee"])
def test_a_round_whose_sum_is_none_leaves_the_model_as_it_was(tiny, garbage, scheme):
    once = run(tiny(*SCHEMES[scheme], "federation.rounds=1")).parameters
    garbage(bad_body, {2})
    assert run(tiny(*SCHEMES[scheme], "federation.rounds=2")).parameters.tobytes() == once.tobytes()


@pytest.mark.parametrize("scheme", ["bfv", "bfv committee", "ckks"])
def test_three_sums_in_a_row_that_are_none_end_the_run(tiny, garbage, scheme):
    garbage(bad_body, {1, 3, 4, 5})
    with pytest.raises(
        UserError, match=r"^round 5: .*\(not_a_sum\).*; 3 rounds in a row had no sum to open$"
    ):
        run(tiny(*SCHEMES[scheme], "federation.rounds=6"))


def test_two_sums_in_a_row_that_are_none_end_no_run(tiny, garbage):
    garbage(bad_body, {1, 2, 4, 5})
    report = run(tiny("secure=bfv", "federation.rounds=6"))
    assert [result.replied for result in report.history] == [0, 0, 0, 4, 0, 0, 4]


def test_with_client_level_privacy_a_refused_sum_costs_what_an_opened_one_does(tiny, garbage, tmp_path):
    garbage(bad_body, {2})
    config = tiny("privacy=client_level", "secure=bfv", "federation.rounds=3")
    report = run(config, output_dir=tmp_path)
    plan = sum_plan_of(config)
    assert [result.replied for result in report.history] == [0, 4, 0, 4]
    assert [result.epsilon for result in report.history[1:]] == [
        plan.spent([4] * rounds).epsilon for rounds in (1, 2, 3)
    ]
    # and so it does for a process that goes on from the checkpoint
    assert [count for _, count in releases(Checkpoint(tmp_path).load().history, ())] == [4, 4, 4]
