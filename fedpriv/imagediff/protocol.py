"""What client and server of encrypted differences agree on.

Bodies are ``public.key`` files and cipher sets (:mod:`fedpriv.he.users.cipher_heads`); requests are signed by
the owner of the key, with metadata that says what they are for, so that none can be used for another. The
server learns sizes, times and the names of references; of pictures it has nothing but ciphertexts.
"""

import re
from dataclasses import dataclass
from typing import Any

from fedpriv.errors import UserError

KEYS = "/v1/keys"
"""POST: a public key, before anything else under it."""
DIFFERENCES = "/v1/differences"
"""POST ?key: ciphertexts A_0 B_0 A_1 B_1 ..; the answer is B_0 - A_0, B_1 - A_1, .."""
REFERENCES = "/v1/references"
"""POST ?key&name: one part of a reference. GET ?key&name: what is there."""
CHANGES = "/v1/references/differences"
"""POST ?key&name: ciphertexts of a part of B; the answer is B - reference."""
FORGET = "/v1/references/delete"
"""POST ?key&name: no ciphertexts, only the owner's signature."""
PATHS = (KEYS, DIFFERENCES, REFERENCES, CHANGES, FORGET)

PART = 64
"""Ciphertexts of one picture in one request: 1.8 MB seeded, over a million values."""
MOST_PARTS = 1 << 12

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class ReferenceHead:
    """What a part of a reference says of it.

    Attributes:
        name: under which it is kept.
        made: milliseconds since 1970; a later one replaces an earlier one.
        part: which, from 0.
        parts: of how many.
        rows: of the picture.
        columns: of the picture.
        channels: of the picture.
    """

    name: str
    made: int
    part: int
    parts: int
    rows: int
    columns: int
    channels: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """(rows, columns, channels)."""
        return self.rows, self.columns, self.channels

    @classmethod
    def read(cls, source: object, found: dict[str, Any]) -> "ReferenceHead":
        """Check what came from outside.

        Raises:
            UserError: naming what is wrong.
        """
        numbers = {
            name: _whole(source, found, name, low, high)
            for name, low, high in (
                ("made", 0, 1 << 48),
                ("parts", 1, MOST_PARTS),
                ("part", 0, MOST_PARTS - 1),
                ("rows", 1, 1 << 26),
                ("columns", 1, 1 << 26),
                ("channels", 1, 4),
            )
        }
        if numbers["part"] >= numbers["parts"]:
            raise UserError(f"{source}: part {numbers['part']} of {numbers['parts']}")
        return cls(checked_name(found.get("name")), **numbers)


def checked_name(name: object) -> str:
    """Return the name of a reference.

    Raises:
        UserError: when it is none.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise UserError(
            f"reference {str(name)[:70]!r}: give up to 64 letters, digits, '.', '_' and '-', "
            "a letter or digit first"
        )
    return name


def _whole(source: object, found: dict[str, Any], name: str, low: int, high: int) -> int:
    value = found.get(name)
    if type(value) is not int or not low <= value <= high:
        raise UserError(f"{source}: {name}={str(value)[:40]}: is no whole number of {low} to {high}")
    return value
