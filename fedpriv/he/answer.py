"""A key holder's answer with its signature: whose part of which sum it is.

Signed are ``fedpriv-answer-1``, a zero byte, the run id (16 bytes), round and number of the key holder
(32 bits each, little-endian) and SHA-256 of the answer. Source of the signature: RFC 8032.

A refusal is not signed: who can forge one on its way denies service, which it can anyway by dropping the
answer.
"""

import hashlib
import struct
from dataclasses import dataclass

from fedpriv.he.identity import SigningKey, verify

_PLACE = struct.Struct("<17s16sII32s")
_DOMAIN = b"fedpriv-answer-1\0"


@dataclass(frozen=True)
class SignedAnswer:
    """What a key holder returns for a sum.

    Attributes:
        answer: its part of opening the sum.
        signature: 64 bytes; untrusted, and perhaps of another size, before :func:`is_signed`.
    """

    answer: bytes
    signature: bytes


def sign_answer(
    key: SigningKey, run_id: bytes, server_round: int, number: int, answer: bytes
) -> SignedAnswer:
    """Sign an answer as key holder ``number``'s for one round of one run."""
    return SignedAnswer(answer, key.sign(_message(run_id, server_round, number, answer)))


def is_signed(signed: SignedAnswer, public: bytes, run_id: bytes, server_round: int, number: int) -> bool:
    """Whether the holder of ``public`` gave this answer as key holder ``number`` in this run and round."""
    return verify(public, _message(run_id, server_round, number, signed.answer), signed.signature)


def _message(run_id: bytes, server_round: int, number: int, answer: bytes) -> bytes:
    return _PLACE.pack(_DOMAIN, run_id, server_round, number, hashlib.sha256(answer).digest())
