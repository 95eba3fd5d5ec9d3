"""Whole encrypted runs in which one client's envelope is tampered with, in another way every round."""

import dataclasses

import numpy as np
import pytest

from fedpriv.config.compose import compose_run
from fedpriv.federated import client as module
from fedpriv.he.identity import SigningKey
from fedpriv.runner import run
from tests.config.small import SMALL

SCHEMES = {
    "bfv": ("secure=bfv",),
    "bfv committee": ("secure=bfv_committee", "secure.holders=2"),
    # more precise than by default, so that two sums differ by little but the noise
    "ckks": ("secure=ckks", "secure.bits=22", "secure.smudging_bits=40"),
}
SIGNATURE, MASK = 256, 320
"""Where they begin, see the table of :mod:`fedpriv.he.envelope`; the client cheated on is number 1."""
DOMAIN = b"fedpriv-update-3\0"
HONEST = module.train


class Party:
    """Client 1 in the round under way: what it would send, what it sent before, and its own key."""

    def __init__(self, sealed, before, other, signer):
        self.sealed, self.before, self.other, self.signer = bytes(sealed), before, other, signer

    def flipped(self, position, bit=0):
        data = bytearray(self.sealed)
        data[position] ^= 1 << bit
        return bytes(data)

    def signed_by(self, signer, header=None):
        header = self.sealed[:SIGNATURE] if header is None else header
        return header + signer.sign(DOMAIN + header) + self.sealed[MASK:]

    def claiming(self, position):
        """Another value in the header, signed by the client itself."""
        return self.signed_by(self.signer, self.flipped(position)[:SIGNATURE])


def mask_bytes(party):
    return int.from_bytes(party.sealed[176:184], "little")


# in the order of the rounds; the first one needs a round before it
TAMPERED = {
    "replay of the round before": ("wrong_round", lambda p: p.before),
    "another client's envelope": ("wrong_client", lambda p: p.other),
    "header, magic": ("malformed", lambda p: p.flipped(0)),
    "header, version": ("malformed", lambda p: p.flipped(8)),
    "header, its own length": ("malformed", lambda p: p.flipped(10)),
    "header, reserved": ("malformed", lambda p: p.flipped(12)),
    "header, scheme": ("wrong_scheme", lambda p: p.flipped(16)),
    "header, run": ("wrong_run", lambda p: p.flipped(47, 7)),
    "header, round": ("wrong_round", lambda p: p.flipped(48)),
    "header, client": ("wrong_client", lambda p: p.flipped(52)),
    "header, parameters": ("wrong_model", lambda p: p.flipped(56)),
    "header, layout": ("wrong_model", lambda p: p.flipped(64)),
    "header, start": ("wrong_model", lambda p: p.flipped(96)),
    "header, codec": ("wrong_parameters", lambda p: p.flipped(159, 7)),
    "header, examples": ("wrong_examples", lambda p: p.flipped(160)),
    "header, weight": ("wrong_weight", lambda p: p.flipped(168)),
    "header, bytes of the mask": ("malformed", lambda p: p.flipped(176)),
    "header, bytes of the body": ("malformed", lambda p: p.flipped(184)),
    "header, digest of the mask": ("forged", lambda p: p.flipped(192)),
    "header, digest of the body": ("forged", lambda p: p.flipped(255, 7)),
    "signature, first bit": ("forged", lambda p: p.flipped(SIGNATURE)),
    "signature, last bit": ("forged", lambda p: p.flipped(MASK - 1, 7)),
    "mask, first bit": ("tampered", lambda p: p.flipped(MASK)),
    "mask, last bit": ("tampered", lambda p: p.flipped(MASK + mask_bytes(p) - 1, 7)),
    "body, first bit": ("tampered", lambda p: p.flipped(MASK + mask_bytes(p))),
    "body, middle": ("tampered", lambda p: p.flipped((MASK + mask_bytes(p) + len(p.sealed)) // 2)),
    "body, last bit": ("tampered", lambda p: p.flipped(-1, 7)),
    "mask and body exchanged": (
        "tampered",
        lambda p: p.sealed[:MASK] + p.sealed[MASK + mask_bytes(p) :] + p.sealed[MASK : MASK + mask_bytes(p)],
    ),
    "nothing": ("truncated", lambda p: b""),
    "cut within the header": ("truncated", lambda p: p.sealed[:100]),
    "cut after the signature": ("truncated", lambda p: p.sealed[:MASK]),
    "one byte short": ("truncated", lambda p: p.sealed[:-1]),
    "one byte more": ("oversized", lambda p: p.sealed + b"\0"),
    "signed with a key that is not enrolled": ("forged", lambda p: p.signed_by(SigningKey.generate())),
    "signed as of another scheme": ("wrong_scheme", lambda p: p.claiming(16)),
    "signed as of another encryption key": ("wrong_parameters", lambda p: p.claiming(130)),
    "signed with another weight": ("wrong_weight", lambda p: p.claiming(170)),
}
# the header is the same under every scheme; the others take one of each kind
KINDS = (
    "replay of the round before",
    "another client's envelope",
    "header, start",
    "signature, last bit",
    "mask, last bit",
    "body, first bit",
    "body, last bit",
    "one byte short",
    "signed with a key that is not enrolled",
    "signed as of another scheme",
    "signed as of another encryption key",
)
WAYS = {"bfv": tuple(TAMPERED), "bfv committee": KINDS, "ckks": KINDS}


@pytest.fixture
def cheated(monkeypatch):
    """Run a federation whose client 1 trains in every round, but has ``change`` made to what it sends.

    Rounds 2, 3, ... have one way each; the first and the last round are honest.
    """

    def execute(scheme, change):
        ways = (None, *WAYS[scheme], None)
        sent, models = {}, {}

        def train(site, client, request, memory):
            reply = HONEST(site, client, request, memory)
            sent[client, request.round] = bytes(reply.sealed)
            models[request.round] = np.array(request.parameters)
            way = ways[request.round - 1]
            if client != 1 or way is None:
                return reply
            party = Party(
                reply.sealed, sent[1, request.round - 1], sent[0, request.round], site.signer(client)
            )
            assert party.signed_by(party.signer) == party.sealed  # the layout above is the real one
            return dataclasses.replace(reply, sealed=change(way, party))

        monkeypatch.setattr(module, "train", train)
        rounds = (f"federation.rounds={len(ways)}", f"evaluation.every={len(ways)}")
        engine = ("engine.workers=0", "engine.threads=1", "tracking=none")
        report = run(compose_run(*SMALL, *SCHEMES[scheme], *rounds, *engine))
        return report, models

    return execute


def tamper(way, party):
    return TAMPERED[way][1](party)


def fail(way, party):
    raise RuntimeError("planted")


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_tampered_envelope_is_counted_by_cause_and_costs_what_a_failed_client_costs(scheme, cheated):
    ways = WAYS[scheme]
    (tampered, models), (failed, _) = cheated(scheme, tamper), cheated(scheme, fail)
    found = [result.failures for result in tampered.history[2:-1]]
    assert dict(zip(ways, found, strict=True)) == {way: {TAMPERED[way][0]: 1} for way in ways}
    assert [result.replied for result in tampered.history] == [0, 3, *[2] * len(ways), 3]
    assert [result.failures for result in failed.history[2:-1]] == [{"exception": 1}] * len(ways)
    if scheme == "ckks":
        # the noise of 13 released sums, which training makes grow, and far less than what one round moves
        steps = [np.linalg.norm(models[number + 1] - models[number]) for number in range(2, len(ways) + 2)]
        assert np.linalg.norm(tampered.parameters - failed.parameters) < min(steps) / 4
    else:
        # these sums are exact: not a bit of what was refused is in the model
        assert tampered.parameters.tobytes() == failed.parameters.tobytes()
