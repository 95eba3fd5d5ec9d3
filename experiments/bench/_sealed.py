"""Our encrypted updates as client, server and key holders handle them, without transport."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedpriv.he.envelope import Draft, Envelope, Expected, Header, check_mask, open_envelope, open_signed
from fedpriv.he.identity import Enrolment, SigningKey
from fedpriv.he.joint_key import assemble
from fedpriv.he.packing import plan_packing, quantise
from fedpriv.he.policy import Policy
from fedpriv.he.provision import client_folder, enrolment_file, keyholder_folder, provision, signing_key_file
from fedpriv.he.registry import build_codec
from fedpriv.types import FloatVector

BITS, VALUE_RANGE = 16, 0.5
_RUN, _ROUND, _EXAMPLES, _START = bytes(16), 1, 1, bytes(32)


@dataclass(frozen=True)
class Received:
    """What the server keeps of an update for the key holders."""

    signed: bytes
    mask: bytes


class Federation:
    """All parties of one federation, their keys made."""

    def __init__(self, folder: Path, keys: str, clients: int, length: int, holders: int) -> None:
        """Make the keys.

        Args:
            folder: exists, empty.
            keys: ``authority`` or ``committee``.
            clients: their number.
            length: P, coordinates of an update.
            holders: of a committee.
        """
        options: dict[str, Any] = {"bits": BITS, "value_range": VALUE_RANGE, "keys": keys}
        if keys == "committee":
            options["holders"] = holders
        codec = build_codec("bfv", clients, **options)
        provision(folder, clients, codec, Policy("bfv", keys, codec.holders))
        self._enrolment = Enrolment.load(enrolment_file(folder))
        parties = [keyholder_folder(folder, number) for number in range(codec.holders)]
        public = _make_key(codec, parties, self._enrolment) if codec.needs_public_key else b""
        codec = codec.with_public_key(public, _RUN, self._enrolment)
        self._length = length
        self._layout = hashlib.sha256(f"{length}".encode()).digest()
        self._clients = [codec.with_key_folder(client_folder(folder, client)) for client in range(clients)]
        self._signers = [
            SigningKey.load(signing_key_file(client_folder(folder, client))) for client in range(clients)
        ]
        self._holders = [codec.holder(party) for party in parties]
        self._server = codec
        self.holders = codec.holders

    def seal(self, client: int, update: FloatVector, weight: float, random: np.random.Generator) -> bytes:
        """Return all that one client sends: weighted, encoded, encrypted, hashed and signed."""
        codec = self._clients[client]
        draft = Draft(codec.mask_bytes(self._length), codec.body_bytes(self._length))
        codec.encode_into(update * np.float32(weight), draft.mask, draft.body, random)
        header = Header(**self._said(client), examples=_EXAMPLES, weight=weight)
        return draft.seal(header, self._signers[client])

    def aggregator(self) -> Any:
        """Return the server's empty sum."""
        return self._server.aggregator(self._length)

    def receive(self, client: int, data: bytes, weight: float, total: Any) -> Received:
        """Check one envelope and add its body; return what the holders will ask for."""
        expected = self._expected(client, _EXAMPLES, weight)
        envelope: Envelope = open_envelope(data, expected, self._enrolment.clients[client], len(data))
        self._server.check_mask(envelope.mask, self._length)
        total.add(envelope.body)
        return Received(envelope.signed, bytes(envelope.mask))

    def answer(self, number: int, received: Sequence[Received], body_sum: bytes) -> bytes:
        """Return one key holder's part: signatures and digests checked, masks added, key applied."""
        for client, one in enumerate(received):
            header = open_signed(
                one.signed, self._expected(client, None, None), self._enrolment.clients[client]
            )
            check_mask(header, one.mask)
        return self._holders[number].open([one.mask for one in received], body_sum, self._length)

    def _expected(self, client: int, examples: int | None, weight: float | None) -> Expected:
        codec = self._server
        return Expected(
            **self._said(client),
            mask_bytes=codec.mask_bytes(self._length),
            body_bytes=codec.body_bytes(self._length),
            examples=examples,
            weight=weight,
        )

    def _said(self, client: int) -> dict[str, Any]:
        """Return the fields of an envelope that its receiver knows as its sender does."""
        return {
            "scheme": self._server.scheme,
            "run_id": _RUN,
            "round": _ROUND,
            "client": client,
            "parameters": self._length,
            "layout": self._layout,
            "start": _START,
            "codec": self._server.digest,
        }


def _make_key(codec: Any, parties: Sequence[Path], enrolment: Enrolment) -> bytes:
    """Let a committee make its joint key."""
    members = [
        codec.member(party, number, _RUN, SigningKey.load(signing_key_file(party)), enrolment)
        for number, party in enumerate(parties)
    ]
    commitments = [member.step("commit", ()) for member in members]
    reveals = [member.step("reveal", commitments) for member in members]
    endorsements = [member.step("endorse", reveals) for member in members]
    return assemble(reveals, endorsements)


def integer_sum(
    updates: Sequence[FloatVector], weights: Sequence[float], randoms: Sequence[np.random.Generator]
) -> NDArray[np.float64]:
    """Return step * (sum of the levels that these clients round to), added as integers in clear."""
    plan = plan_packing(BITS, len(updates), value_range=VALUE_RANGE)
    total = np.zeros(len(updates[0]), np.int64)
    for update, weight, random in zip(updates, weights, randoms, strict=True):
        levels, _ = quantise(update * np.float32(weight), plan, random)
        total += levels.astype(np.int64) - plan.offset
    return np.multiply(total, plan.step, dtype=np.float64)
