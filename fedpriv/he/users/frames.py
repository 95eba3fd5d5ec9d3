"""SEAL's format of a ciphertext around its coefficients: constant for a shape, written and never read."""

import functools
import math
import struct
from typing import Any

import numpy as np
from tenseal import sealapi

from fedpriv.he.parameters import SealParameters, seal_context
from fedpriv.he.sealio import SealBuffer, SealDataError, seal_header
from fedpriv.he.users.shapes import MOST_POLYNOMIALS, SEED_BYTES, Buffer, Shape, Words

_HEAD = struct.Struct("<32s?QQQdQ")
_LENGTH = struct.Struct("<Q")
_BLAKE2XB = b"\x01"


class Frame:
    """Everything of SEAL's format but coefficients and seed, for one shape; constant, hence never read."""

    def __init__(self, seal: SealParameters, shape: Shape, ntt: bool, key: bool = False) -> None:
        """Prepare it.

        Args:
            seal: the parameters.
            shape: of the ciphertexts.
            ntt: whether polynomials are in the NTT domain.
            key: of public keys, which have the special prime too; ``shape.primes`` counts it.
        """
        self._context, self._seeded = seal_context(seal), shape.seeded
        ids = self._context.key_parms_id() if key else level_id(seal, shape.primes)
        polynomials = 1 if shape.seeded else shape.polynomials
        self._dimensions = (polynomials, shape.primes, seal.poly_degree)
        self._count = math.prod(self._dimensions)
        # the third polynomial of a product included, and what SEAL writes besides
        self._cap = 8 * MOST_POLYNOMIALS * shape.primes * seal.poly_degree + 512
        self._head = _HEAD.pack(
            struct.pack("<4Q", *ids), ntt, shape.polynomials, seal.poly_degree, shape.primes, shape.scale, 1
        )
        self._head += seal_header(_LENGTH.size + 8 * self._count) + _LENGTH.pack(self._count)
        self._seed_head = seal_header(len(_BLAKE2XB) + SEED_BYTES) + _BLAKE2XB if shape.seeded else b""

    @property
    def size(self) -> int:
        """Bytes of SEAL's format without its first header."""
        seed = len(self._seed_head) + SEED_BYTES if self._seeded else 0
        return len(self._head) + 8 * self._count + seed

    def read(self, buffer: SealBuffer, ciphertext: Any) -> tuple[Words, bytes]:
        """Return (polynomials, primes, N) coefficients, and the seed or nothing.

        Raises:
            SealDataError: when the object has another shape.
        """
        return self.parse(buffer.dump(ciphertext, self._cap))

    def parse(self, body: bytes) -> tuple[Words, bytes]:
        """Return what :meth:`read` does, of bytes that SEAL wrote."""
        end = len(self._head) + 8 * self._count
        if not (
            body.startswith(self._head) and len(body) == self.size and body.startswith(self._seed_head, end)
        ):
            raise SealDataError("ciphertext: not of the shape expected")
        words = np.frombuffer(body, "<u8", self._count, len(self._head)).reshape(self._dimensions)
        return words, body[end + len(self._seed_head) :]

    def parts(self, words: Words, seed: bytes = b"") -> list[Buffer]:
        """Return the bytes that SEAL loads for these checked coefficients."""
        flat = np.ascontiguousarray(words, "<u8").view(np.uint8).reshape(-1).data
        return [self._head, flat, self._seed_head, seed]

    def write(self, buffer: SealBuffer, words: Words, seed: bytes = b"", target: Any = None) -> Any:
        """Return the ``Ciphertext`` (or fill ``target``, such as a ``PublicKey``)."""
        made = sealapi.Ciphertext() if target is None else target
        buffer.load(made, self._context, self.parts(words, seed), self._cap)
        return made


@functools.lru_cache(maxsize=64)
def level_id(seal: SealParameters, primes: int) -> tuple[int, ...]:
    """Return SEAL's name for the parameters with the first ``primes`` primes.

    Raises:
        ValueError: when ciphertexts never have so many.
    """
    data = seal_context(seal).first_context_data()
    while data is not None and len(data.parms().coeff_modulus()) != primes:
        data = data.next_context_data()
    if data is None:
        raise ValueError(f"{primes} primes: no level of the parameters")
    return tuple(data.parms_id())
