"""The key holder's side: opens a question, and answers no more than it has to."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from fedpriv.errors import FormatError, UserError
from fedpriv.he.matching.blinding import FACTOR_BITS, OPENED_UNIT, RAW_FACTOR
from fedpriv.he.matching.lengths import CLAIMS, require_unit
from fedpriv.he.matching.places import Place, most_blocks
from fedpriv.he.matching.question import KINDS, Kind
from fedpriv.he.users.cipher_reading import CipherReader
from fedpriv.he.users.keys import UserKeys

SCORE_STEP = 2.0**-16
"""Raw scores are rounded to it: exact CKKS decryptions give the secret key away (Li and Micciancio
2021)."""

_LARGEST = 2.0 ** (FACTOR_BITS + 2)


@dataclass(frozen=True)
class Answer:
    """What the key holder says.

    Attributes:
        kind: of the question.
        accepted: block and slot of those above the threshold; of ``identify`` the best one only.
        scores: rounded to 2^-16, for ``scores`` only.
    """

    kind: Kind
    accepted: tuple[tuple[int, int], ...] = ()
    scores: dict[tuple[int, int], float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {
            "kind": self.kind,
            "accepted": [list(each) for each in self.accepted],
            "scores": [[*place, score] for place, score in self.scores.items()],
        }

    @classmethod
    def from_json(cls, data: Any) -> "Answer":
        """Return an answer that came from outside.

        Raises:
            UserError: when it is none.
        """
        try:
            kind, accepted, scores = data["kind"], data["accepted"], data["scores"]
            if data.keys() != {"kind", "accepted", "scores"} or kind not in KINDS:
                raise ValueError("kind")
            pairs = tuple((_number(block), _number(slot)) for block, slot in accepted)
            table = {(_number(block), _number(slot)): float(score) for block, slot, score in scores}
            if not all(abs(score) <= _LARGEST for score in table.values()) or (scores and kind != "scores"):
                raise ValueError("scores")
            if kind in ("verify", "identify") and len(pairs) > 1:
                raise ValueError("accepted")
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise UserError(
                f"answer of the key holder: is none ({str(error)[:60]}); check its address"
            ) from error
        return cls(kind, pairs, table)


def open_question(keys: UserKeys, stream: BinaryIO, source: object, *, raw_scores: bool = False) -> Answer:
    """Answer a question of the server's.

    Open nothing that came from elsewhere: whoever may send ciphertexts of their own choosing can have
    anything decrypted bit by bit.

    Args:
        keys: the secret key.
        stream: of the cipher set.
        source: names it, for messages.
        raw_scores: whether ``scores`` may be asked for.

    Raises:
        FormatError: when it is no question, damaged, or under another key.
        UserError: for raw scores that may not be asked for; for a probe that is not of unit length, of which
            nothing else is opened.
    """
    parameters = keys.set
    reader = CipherReader(
        stream,
        keys.public,
        source=source,
        most=most_blocks(parameters) + CLAIMS,
        primes=(parameters.primes - 1,),
    )
    kind, asked = _read_head(source, reader)
    if kind == "scores" and not raw_scores:
        raise UserError("raw scores: this key holder gives none; ask to verify or identify")
    # what a product has after rescaling by the last prime
    scale = parameters.scale**2 / float(parameters.moduli()[-1, 0])
    if not math.isclose(reader.head.shape.scale, scale, rel_tol=1e-9):
        raise FormatError(source, None, f"scale {reader.head.shape.scale:g}, {scale:g} expected")
    limit = _LARGEST * OPENED_UNIT
    # all is received, and its checksum right, before anything is decrypted
    received = list(reader)
    if len(received) > len(asked):
        require_unit(keys, received[len(asked) :])
    opened = [keys.decrypt_floats(each, limit) / OPENED_UNIT for each in received[: len(asked)]]
    values = {
        (place.block, slot): float(slots[slot])
        for place, slots in zip(asked, opened, strict=True)
        for slot in place.slots
    }
    if kind == "scores":
        rounded = {place: round(y / RAW_FACTOR / SCORE_STEP) * SCORE_STEP for place, y in values.items()}
        return Answer(kind, (), rounded)
    above = {place: value for place, value in values.items() if value > 0}
    if kind == "identify":
        return Answer(kind, (max(above, key=above.__getitem__),) if above else ())
    return Answer(kind, tuple(above))


def exact_scores(keys: UserKeys, ciphertexts: Sequence[Any]) -> NDArray[np.float64]:
    """Return the (blocks, slots) scores of a question of kind ``scores``, with all digits.

    To judge the accuracy by; whoever has seen the ciphertexts must never see them.
    """
    opened = [keys.decrypt_floats(each, _LARGEST * OPENED_UNIT) for each in ciphertexts]
    return np.stack(opened) / OPENED_UNIT / RAW_FACTOR


def _read_head(source: object, reader: CipherReader) -> tuple[Kind, list[Place]]:
    data = reader.head.metadata
    try:
        if data["kind"] != "question" or data.keys() != {"kind", "ask", "claims", "asked"}:
            raise ValueError("no question")
        kind: Kind = data["ask"]
        asked = [Place.from_json(each, reader.head.set) for each in data["asked"]]
        blocks = [place.block for place in asked]
        if kind not in KINDS or type(data["claims"]) is not int or data["claims"] not in (0, CLAIMS):
            raise ValueError("kind of question")
        if reader.head.count != len(asked) + data["claims"] or not asked or len(set(blocks)) < len(blocks):
            raise ValueError("blocks")
        if kind == "verify" and (len(asked) > 1 or len(asked[0].slots) > 1):
            raise ValueError("one person expected")
    except (KeyError, TypeError, ValueError) as error:
        raise FormatError(
            source, None, f"no question of a matching server ({error}); check who sent it"
        ) from error
    return kind, asked


def _number(value: object) -> int:
    if type(value) is not int or value < 0:
        raise ValueError("number")
    return value
