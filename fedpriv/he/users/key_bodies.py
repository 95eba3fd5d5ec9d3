"""The polynomials of public and relinearisation keys as packed bytes and back.

A relinearisation key is one public key for each data prime; what SEAL writes around them is constant for
given parameters and is written here.
"""

import struct
from typing import Any

import numpy as np
from tenseal import sealapi

from fedpriv.he.parameters import seal_context
from fedpriv.he.sealio import SealBuffer, SealDataError, seal_header
from fedpriv.he.users.frames import Frame
from fedpriv.he.users.opening import plaintext_head
from fedpriv.he.users.row_packing import RowPacking, key_moduli
from fedpriv.he.users.sets import ParameterSet
from fedpriv.he.users.shapes import Buffer, Shape, Words

_COUNTS = struct.Struct("<QQ")


class KeyBodies:
    """Packs and unpacks the keys of one parameter set; all are in the NTT domain, under all primes.

    Attributes:
        public_bytes: exact size of public key and relinearisation keys, where there are any.
        secret_bytes: exact size of the secret key.
    """

    def __init__(self, parameters: ParameterSet) -> None:
        """Prepare the constant parts."""
        seal = parameters.seal
        moduli, self._context = key_moduli(seal), seal_context(seal)
        self._shape = (len(moduli), seal.poly_degree)
        self._rows = RowPacking(moduli, seal.poly_degree)
        self._frame = Frame(seal, Shape(2, len(moduli)), ntt=True, key=True)
        self._id = struct.pack("<4Q", *self._context.key_parms_id())
        self._relinearising = parameters.primes if parameters.relinearises else 0
        self.secret_bytes = self._rows.size
        self.public_bytes = 2 * self._rows.size * (1 + self._relinearising)

    def pack_public(self, public: Any, relin: Any) -> bytes:
        """Return both in :attr:`public_bytes`; ``relin`` is None where the set has none."""
        with SealBuffer() as buffer:
            pairs = [self._frame.read(buffer, public)[0]]
            if self._relinearising:
                pairs += self._pairs(buffer, relin)
        return b"".join(self._rows.pack(polynomial) for pair in pairs for polynomial in pair)

    def unpack_public(self, data: Buffer) -> tuple[Any, Any]:
        """Return ``PublicKey`` and ``RelinKeys`` (or None).

        Raises:
            SealDataError: for another size, a coefficient that is not below its prime, or what SEAL refuses.
        """
        if len(data) != self.public_bytes:
            raise SealDataError(f"keys: {len(data)} bytes, {self.public_bytes} expected")
        view, step = memoryview(data), self._rows.size
        rows = [self._rows.unpack(view[start : start + step]) for start in range(0, len(view), step)]
        pairs = [np.stack(rows[first : first + 2]) for first in range(0, len(rows), 2)]
        with SealBuffer() as buffer:
            public = self._frame.write(buffer, pairs[0], target=sealapi.PublicKey())
            if not self._relinearising:
                return public, None
            parts: list[Buffer] = [self._relin_head()]
            for pair in pairs[1:]:
                parts += [seal_header(self._frame.size), *self._frame.parts(pair)]
            relin = sealapi.RelinKeys()
            buffer.load(relin, self._context, parts, sum(len(part) for part in parts))
        return public, relin

    def pack_secret(self, secret: Any) -> bytes:
        """Return a ``SecretKey`` in :attr:`secret_bytes`."""
        return self._rows.pack(self.secret_words(secret))

    def unpack_secret(self, data: Buffer) -> Any:
        """Return the ``SecretKey``.

        Raises:
            SealDataError: for another size, or a residue that is not below its prime.
        """
        words, secret = self._rows.unpack(data), sealapi.SecretKey()
        flat = np.ascontiguousarray(words, "<u8").view(np.uint8).reshape(-1).data
        head = self._secret_head()
        with SealBuffer() as buffer:
            buffer.load(secret, self._context, [head, flat], len(head) + len(flat))
        return secret

    def secret_words(self, secret: Any) -> Words:
        """Return the residues of a ``SecretKey`` in the NTT domain, (L + 1, N)."""
        head = self._secret_head()
        with SealBuffer() as buffer:
            body = buffer.dump(secret, len(head) + 8 * self._shape[0] * self._shape[1])
        if not body.startswith(head):
            raise SealDataError("secret key: not in the form this program knows")
        return np.frombuffer(body, "<u8", offset=len(head)).reshape(self._shape)

    def _pairs(self, buffer: SealBuffer, relin: Any) -> list[Words]:
        head, step = self._relin_head(), len(seal_header(0)) + self._frame.size
        body = buffer.dump(relin, len(head) + step * self._relinearising)
        if not body.startswith(head) or len(body) != len(head) + step * self._relinearising:
            raise SealDataError("relinearisation keys: not in the form this program knows")
        starts = range(len(head) + len(seal_header(0)), len(body), step)
        return [self._frame.parse(body[start : start + self._frame.size])[0] for start in starts]

    def _relin_head(self) -> bytes:
        return self._id + _COUNTS.pack(1, self._relinearising)

    def _secret_head(self) -> bytes:
        count = self._shape[0] * self._shape[1]
        return plaintext_head(self._id, count, 1.0)
