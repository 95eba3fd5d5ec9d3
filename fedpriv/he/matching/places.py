"""Who is where: a gallery is blocks of slots, a person is one slot of one block, and a random name."""

import base64
import binascii
import re
import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from fedpriv.errors import UserError
from fedpriv.he.users.sets import ParameterSet

ID_LENGTH = 12
"""Characters of a person's name at the server: 72 random bits in base64url."""

MOST_PEOPLE = 4096
"""In one enrolment: their names, and the slots, fit the metadata of a cipher set."""

_ID = re.compile(r"[A-Za-z0-9_-]{12}\Z")
_ASKED_BYTES = 60_000


def new_id() -> str:
    """Draw a name that tells nothing of the person; the owner keeps the table of clear names."""
    return secrets.token_urlsafe(9)


def require_id(text: object) -> str:
    """Return a name as it is.

    Raises:
        UserError: when it is none.
    """
    if not isinstance(text, str) or not _ID.match(text):
        raise UserError(
            f"person {str(text)[:40]}: no name of 12 letters, digits, - or _; use the one enrolled"
        )
    return text


def most_blocks(parameters: ParameterSet) -> int:
    """Return how many blocks a gallery may have: a question names its slots in 64 KiB of metadata.

    85 blocks of 4,096 people, 43 of 8,192: about 350,000 people.
    """
    return _ASKED_BYTES // (4 * -(-parameters.slots // 24) + 20)


@dataclass(frozen=True)
class Place:
    """Slots of one block.

    Attributes:
        block: from 0.
        slots: increasing, from 0.
    """

    block: int
    slots: tuple[int, ...]

    def to_json(self, capacity: int) -> list[object]:
        """Return ``[block, bits]``: a bit for each of ``capacity`` slots, the first one highest, base64."""
        bits = np.zeros(capacity, np.uint8)
        bits[list(self.slots)] = 1
        return [self.block, base64.b64encode(np.packbits(bits).tobytes()).decode()]

    @classmethod
    def from_json(cls, data: object, parameters: ParameterSet) -> "Place":
        """Return the place that :meth:`to_json` wrote, with ``parameters.slots`` as capacity.

        Raises:
            ValueError: when it is none: a slot beyond the block, a block beyond the gallery, no slot at
                all.
        """
        if not isinstance(data, list) or len(data) != 2:
            raise ValueError("place: a block and its slots expected")
        block, text = data
        if type(block) is not int or not 0 <= block < most_blocks(parameters):
            raise ValueError(f"block {str(block)[:20]}: 0 to {most_blocks(parameters) - 1} expected")
        size = -(-parameters.slots // 8)
        if not isinstance(text, str) or len(text) != 4 * -(-size // 3):
            raise ValueError("slots: of another length")
        try:
            raw = base64.b64decode(text, validate=True)
        except binascii.Error:
            raise ValueError("slots: no base64") from None
        slots = np.flatnonzero(np.unpackbits(np.frombuffer(raw, np.uint8))).tolist()
        if not slots or slots[-1] >= parameters.slots:
            raise ValueError("slots: none, or beyond the block")
        return cls(block, tuple(slots))


def join_ids(ids: Sequence[str]) -> str:
    """Return names one after the other."""
    return "".join(ids)


def split_ids(text: object, count: int) -> list[str]:
    """Return ``count`` different names from :func:`join_ids`.

    Raises:
        ValueError: when they are not.
    """
    if not isinstance(text, str) or len(text) != ID_LENGTH * count:
        raise ValueError(f"ids: {count} names of {ID_LENGTH} characters expected")
    ids = [text[start : start + ID_LENGTH] for start in range(0, len(text), ID_LENGTH)]
    if not all(map(_ID.match, ids)) or len(set(ids)) < count:
        raise ValueError("ids: one is no name, or there twice")
    return ids


def free_places(taken: Sequence[Collection[int]], count: int, parameters: ParameterSet) -> list[Place]:
    """Return where the next ``count`` people go: the first free slots, at most 4,096 in a piece.

    Args:
        taken: the slots in use of each block, all blocks from 0.
        count: of people.
        parameters: of the gallery.

    Raises:
        UserError: when the gallery is full.
    """
    places, block = [], 0
    while count:
        if block == most_blocks(parameters):
            raise UserError(
                f"gallery: {count} people too many; it holds {block * parameters.slots}: begin a second one"
            )
        used = taken[block] if block < len(taken) else ()
        free = [slot for slot in range(parameters.slots) if slot not in used][:count]
        for start in range(0, len(free), MOST_PEOPLE):
            places.append(Place(block, tuple(free[start : start + MOST_PEOPLE])))
        count -= len(free)
        block += 1
    return places
