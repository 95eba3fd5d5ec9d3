"""A sharing scheme with its numbers, applied to byte strings of one fixed length."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from fedpriv.sharing import additive, shamir
from fedpriv.sharing.randomness import RandomBytes, secure_bytes

Kind = Literal["additive", "shamir"]
_CODES: dict[Kind, int] = {"additive": 1, "shamir": 2}
_KINDS = {code: kind for kind, code in _CODES.items()}


@dataclass(frozen=True, order=True)
class Scheme:
    """How a payload is cut into shares.

    Attributes:
        kind: ``additive`` (all shares are needed) or ``shamir`` (any ``t`` of them).
        n: how many shares, each through another relay.
        t: how many give the payload back; ``n`` when additive.

    Raises:
        ValueError: for another kind, or numbers that do not fit it.
    """

    kind: Kind
    n: int
    t: int

    def __post_init__(self) -> None:
        """Check the numbers."""
        if self.kind not in _CODES:
            raise ValueError(f"scheme {self.kind!r}: one of {', '.join(_CODES)}")
        if not 2 <= self.t <= self.n <= additive.MAX_SHARES:
            raise ValueError(
                f"{self.kind}: t={self.t}, n={self.n}: need 2 <= t <= n <= {additive.MAX_SHARES}"
            )
        if self.kind == "additive" and self.t != self.n:
            raise ValueError(f"additive: t={self.t}, n={self.n}: all shares are needed, so t = n")

    @property
    def wire(self) -> tuple[int, int, int]:
        """The three numbers that stand in headers: code of the kind, n, t."""
        return _CODES[self.kind], self.n, self.t

    @classmethod
    def from_wire(cls, code: int, n: int, t: int) -> "Scheme":
        """Return the scheme of three numbers from outside.

        Raises:
            ValueError: when there is none.
        """
        kind = _KINDS.get(code)
        if kind is None:
            raise ValueError(f"scheme {code}: one of {', '.join(map(str, _KINDS))}")
        return cls(kind, n, t)

    def share_bytes(self, payload_bytes: int) -> int:
        """Return the size of each share: that of the payload, or 4 bytes for 3 with Shamir."""
        return payload_bytes if self.kind == "additive" else 4 * shamir.elements(payload_bytes)

    def split(self, payload: bytes, random: RandomBytes = secure_bytes) -> list[bytes]:
        """Cut ``payload`` into ``n`` shares.

        Guarantee:
            - Any ``t - 1`` of them are independent of the payload.
        """
        data = np.frombuffer(payload, np.uint8)
        if self.kind == "additive":
            return [share.tobytes() for share in additive.split(data, self.n, random)]
        return [share.astype("<u4").tobytes() for share in shamir.split(data, self.n, self.t, random)]

    def combine(self, shares: Mapping[int, bytes], payload_bytes: int) -> bytes:
        """Put the payload together.

        Args:
            shares: at least ``t`` shares by index, 0 to n - 1; more are not looked at.
            payload_bytes: its size.

        Raises:
            ValueError: when there are too few, or they have another size or no bytes in them.
        """
        if len(shares) < self.t or not all(0 <= index < self.n for index in shares):
            raise ValueError(f"shares {sorted(shares)}: need {self.t} of 0 to {self.n - 1}")
        chosen = dict(list(shares.items())[: self.t])
        if any(len(share) != self.share_bytes(payload_bytes) for share in chosen.values()):
            raise ValueError(f"shares: each has {self.share_bytes(payload_bytes)} bytes")
        joined = b"".join(chosen.values())
        if self.kind == "additive":
            return additive.combine(np.frombuffer(joined, np.uint8).reshape(self.t, -1)).tobytes()
        words = np.frombuffer(joined, "<u4").astype(np.uint32).reshape(self.t, -1)
        return shamir.combine(words, list(chosen), payload_bytes).tobytes()


def every_scheme(relays: int) -> tuple[Scheme, ...]:
    """Return every scheme that ``relays`` relays can carry, at most one share through each."""
    sizes = range(2, relays + 1)
    return (
        *(Scheme("additive", n, n) for n in sizes),
        *(Scheme("shamir", n, t) for n in sizes for t in range(2, n + 1)),
    )
