"""Which id an image has and which relays its shares take, hopping per image.

``S = HKDF-SHA256(secret, salt=handshake hash, info="fedpriv relays schedule v1")``. Image i has

* id: the first 16 bytes of HMAC-SHA256(S, "id" || i);
* relays: the first n of a Fisher-Yates shuffle of all N, driven by the bytes of
  HMAC-SHA256(S, "relays" || i || 0, 1, ...). A byte b picks b mod m of the m relays left, if b is below
  the largest multiple of m; others are passed over, so that every order is exactly as likely.

Both ends derive it; to anybody without the secret it is as good as random.
"""

import hmac
from collections.abc import Iterator
from typing import NamedTuple

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

ID_BYTES = 16
MAX_RELAYS = 255
_INFO = b"fedpriv relays schedule v1"


class Slot(NamedTuple):
    """One image's place in the schedule.

    Attributes:
        number: which image of the session, from 0.
        image: its id, 16 bytes.
        relays: names of the relays; share j goes through the j-th.
    """

    number: int
    image: bytes
    relays: tuple[str, ...]


class Schedule:
    """The schedule of one session.

    Guarantee:
        - The same secret, transcript, relays and n give the same slots on any machine.
        - A slot's relays are distinct; every ordered choice of n of them is equally likely.

    Edge cases:
        - n equal to the number of relays: all of them, in an order that changes.
    """

    def __init__(self, secret: bytes, transcript: bytes, relays: tuple[str, ...], n: int) -> None:
        """Derive the schedule's key.

        Args:
            secret: shared by client and server, 32 bytes.
            transcript: the session's handshake hash.
            relays: names in the server's order.
            n: shares per image.

        Raises:
            ValueError: when names repeat, are more than 255 or fewer than ``n``.
        """
        if len(set(relays)) != len(relays) or not 1 <= n <= len(relays) <= MAX_RELAYS:
            raise ValueError(f"{n} of {len(relays)} relays: need distinct ones, n to {MAX_RELAYS}")
        self._key = HKDF(SHA256(), 32, transcript, _INFO).derive(secret)
        self._relays, self._n = relays, n

    def slot(self, number: int) -> Slot:
        """Return the place of image ``number``, which must lie in [0, 2^32)."""
        packed = number.to_bytes(4, "big")
        image = hmac.digest(self._key, b"id" + packed, "sha256")[:ID_BYTES]
        left = list(self._relays)
        stream = self._bytes(packed)
        chosen = []
        for _ in range(self._n):
            bound = 256 - 256 % len(left)
            drawn = next(byte for byte in stream if byte < bound) % len(left)
            chosen.append(left[drawn])
            left[drawn] = left[-1]
            left.pop()
        return Slot(number, image, tuple(chosen))

    def _bytes(self, packed: bytes) -> Iterator[int]:
        block = 0
        while True:
            yield from hmac.digest(self._key, b"relays" + packed + block.to_bytes(4, "big"), "sha256")
            block += 1
