"""Whole runs under every scheme with one client that cheats: refused by name, and the run goes on."""

import dataclasses

import numpy as np
import pytest

from fedpriv.federated import client as module
from fedpriv.he.envelope import SIGNED_BYTES
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
