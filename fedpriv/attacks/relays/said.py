"""What services say, in words that attacks count."""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from fedpriv.relays.frames import FrameReader
from fedpriv.sharing.answer import RECORD_BYTES, unpack_records
from fedpriv.sharing.causes import Cause, SharingError

ANSWERED, CLOSED = "answered", "closed"
TAKEN = frozenset({ANSWERED, Cause.BUSY.label, Cause.INCOMPLETE.label, Cause.FAILED.label})
"""What the server says of a piece that it took: answered at once, or held and told to come again."""


class Said(NamedTuple):
    """What a service said.

    Attributes:
        label: ``answered``, the label of a cause, ``http_STATUS``, or ``closed`` without a response.
        answer: the sealed answer, if one came along.
    """

    label: str
    answer: bytes | None


def read_said(status: int, body: bytes) -> Said:
    """Return what the response to one envelope, or to a first message, says."""
    if status == 0:
        return Said(CLOSED, None)
    if status == 200:
        try:
            frames = FrameReader(1, RECORD_BYTES).feed(body)
            record = unpack_records(frames[0][1], 1)[0]
        except (SharingError, IndexError):
            return Said("unreadable", None)
        return Said(ANSWERED if record.cause is None else record.cause.label, record.answer)
    try:
        found: Any = json.loads(body)
        return Said(str(found["cause"]), None)
    except (ValueError, TypeError, KeyError):
        return Said(f"http_{status}", None)


def together(said: Sequence[Said]) -> str:
    """Return one label for the pieces of one attempt."""
    return "+".join(sorted({each.label for each in said}))
