"""What an owner sends and gets back: encrypted parts of pictures, signed into requests, and their answers."""

import io
import secrets
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedpriv.errors import FormatError
from fedpriv.he.pictures.difference import encrypted, opened
from fedpriv.he.pictures.packing import ValuePacking
from fedpriv.he.pictures.reading import Picture
from fedpriv.he.users.cipher_heads import CipherHead
from fedpriv.he.users.cipher_reading import CipherReader
from fedpriv.he.users.cipher_writing import CipherStream
from fedpriv.he.users.keys import UserKeys
from fedpriv.imagediff.protocol import PART

Request = tuple[str, bytes]
"""The number that a request gave itself, which its answer must have, and its body."""


class PictureRequests:
    """Makes requests with one key pair, and opens their answers; knows nothing of HTTP.

    Attributes:
        part_values: how many values of a picture one request carries at most.
    """

    def __init__(self, keys: UserKeys) -> None:
        """Prepare to encrypt with ``keys``."""
        self._keys, self._packing = keys, ValuePacking(keys.set)
        self._encryptor = keys.encryptor()
        self.part_values = PART * self._packing.per_ciphertext

    def pieces(self, picture: Picture) -> list[NDArray[np.uint8]]:
        """Return a picture's values, a request's worth in each vector."""
        values = picture.reshape(-1)
        return [values[begin : begin + self.part_values] for begin in range(0, len(values), self.part_values)]

    def framed(self, purpose: str, sides: list[NDArray[np.uint8]], said: dict[str, Any]) -> Request:
        """Return a number of its own and the request that it is signed into.

        Args:
            purpose: of the request; it is signed, so that no request passes for another.
            sides: vectors of one length, whose ciphertexts take turns.
            said: of them, in clear.
        """
        nonce = secrets.token_hex(16)
        head = CipherHead(
            self._keys.set,
            self._keys.fingerprint,
            self._encryptor.shape,
            len(sides) * self._packing.ciphertexts(len(sides[0])),
            {**said, "for": purpose, "nonce": nonce},
            signed=True,
        )
        stream = CipherStream(head, self._keys.signer)
        bodies = zip(*(encrypted(self._encryptor, side) for side in sides), strict=True)
        return nonce, b"".join(
            [stream.head(), *(stream.body(each) for turn in bodies for each in turn), stream.tail()]
        )

    def opened(self, nonce: str, body: bytes, values: int, url: str) -> NDArray[np.int16]:
        """Open the answer to the request of this number.

        Args:
            nonce: the request's number.
            body: as it came.
            values: how many it must have.
            url: whence it came.

        Raises:
            UserError: it is no such answer, or none to this request.
        """
        source, most = f"answer of {url}", self._packing.ciphertexts(values)
        reader = CipherReader(io.BytesIO(body), self._keys.public, source=source, most=most)
        if reader.head.metadata.get("nonce") != nonce or reader.head.count != most:
            raise FormatError(source, None, "belongs to another request; ask again")
        # all of it is checked before anything is decrypted
        return opened(self._keys, list(reader), values)
