"""Ciphertexts, keys and plaintexts as coefficients and seeds: the only parts that ever cross a border.

A ciphertext is two polynomials c0 and c1, packed to the width of the primes. Everything else that SEAL's
format holds is constant for given parameters and is written by the receiver, so that SEAL's parser never
sees a length or a type that somebody else chose.
"""

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tenseal import sealapi

from fedpriv.he.parameters import SealParameters, data_primes, key_primes, seal_context
from fedpriv.he.sealio import SealBuffer, SealDataError, seal_header
from fedpriv.he.words import may_reach, pack_words, packed_bytes, unpack_words

Words = NDArray[np.uint64]
"""A polynomial as residues, (L, N) uint64: one row for each prime."""

_CIPHERTEXT = struct.Struct("<32s?QQQdQ")
_PLAINTEXT = struct.Struct("<32sQd")
_LENGTH = struct.Struct("<Q")


class CiphertextWire:
    """Reads and writes the polynomials of ciphertexts of one set of parameters.

    BFV's are coefficients; CKKS' are in the NTT domain.

    Attributes:
        moduli: the primes, (L, 1) uint64.
        shape: (L, N).
        polynomial_bytes: exact bytes of one packed polynomial.
    """

    def __init__(self, parameters: SealParameters, scale: float = 1.0, level: str = "data") -> None:
        """Prepare the constant parts.

        Args:
            parameters: of the scheme.
            scale: of CKKS ciphertexts; 1 for BFV.
            level: ``data`` for ciphertexts, ``key`` for public keys, which have the special prime too.
        """
        self._context = seal_context(parameters)
        at_keys = level == "key"
        self.moduli = (key_primes if at_keys else data_primes)(parameters)[:, np.newaxis]
        self.shape = (len(self.moduli), parameters.poly_degree)
        self._words = self.shape[0] * self.shape[1]
        self._width, self._smallest = int(self.moduli.max()).bit_length(), int(self.moduli.min())
        self._cap = 16 * self._words + 512
        self._ntt = at_keys or parameters.scheme == "ckks"
        self._scale = scale
        ids = self._context.key_parms_id() if at_keys else self._context.first_parms_id()
        self._parms_id = struct.pack("<4Q", *ids)
        self.polynomial_bytes = packed_bytes(self._words, self._width)

    def pack(self, polynomial: Words) -> bytes:
        """Return a polynomial in ``polynomial_bytes``."""
        return pack_words(polynomial.reshape(-1), self._width)

    def unpack(self, data: bytes | memoryview) -> Words:
        """Read a packed polynomial, without SEAL.

        Raises:
            SealDataError: when the size is wrong, or a residue is not below its prime.
        """
        if len(data) != self.polynomial_bytes:
            raise SealDataError(f"polynomial: {len(data)} bytes, {self.polynomial_bytes} expected")
        words = unpack_words(memoryview(data), self._words, self._width).reshape(self.shape)
        if (words >= self.moduli).any():
            raise SealDataError("polynomial: a coefficient is not below its modulus")
        return words

    def check(self, data: bytes | memoryview) -> None:
        """Refuse what :meth:`unpack` refuses, mostly without unpacking it.

        Raises:
            SealDataError: as :meth:`unpack`.
        """
        of_this_size = len(data) == self.polynomial_bytes
        if of_this_size and not may_reach(memoryview(data), self._words, self._width, self._smallest):
            return
        self.unpack(data)

    def split(self, buffer: SealBuffer, ciphertext: Any, ntt: bool | None = None) -> tuple[Words, Words]:
        """Return c0 and c1 of a ``Ciphertext`` or ``PublicKey``; ``ntt`` where not as the scheme has it."""
        body = buffer.dump(ciphertext, self._cap)
        words, rest = self._split(body, 2 * self._words, self._ntt if ntt is None else ntt)
        if rest:
            raise SealDataError("ciphertext: not of two polynomials")
        first, second = words.reshape(2, *self.shape)
        return first, second

    def join(
        self, buffer: SealBuffer, c0: Words, c1: Words, target: Any = None, ntt: bool | None = None
    ) -> Any:
        """Return the ``sealapi.Ciphertext`` (or fill ``target``) with these checked polynomials.

        Args:
            buffer: what it passes through.
            c0: first polynomial.
            c1: second polynomial.
            target: another object to fill, such as a ``PublicKey``.
            ntt: whether they are in the NTT domain; None for as the scheme has it.
        """
        head = self._head(2 * self._words, self._ntt if ntt is None else ntt)
        words = [np.ascontiguousarray(part, "<u8").view(np.uint8).reshape(-1).data for part in (c0, c1)]
        made = sealapi.Ciphertext() if target is None else target
        buffer.load(made, self._context, [head, *words], self._cap)
        return made

    def plaintext(self, buffer: SealBuffer, polynomial: Words) -> Any:
        """Return the ``sealapi.Plaintext`` in the NTT domain with these residues."""
        return _load_plaintext(buffer, self._context, polynomial.reshape(-1), self._parms_id, self._scale)

    def residues(self, buffer: SealBuffer, plaintext: Any) -> Words:
        """Return the residues of a ``sealapi.Plaintext`` in the NTT domain."""
        return dump_plaintext(buffer, plaintext, self._words).reshape(self.shape)

    def _head(self, words: int, ntt: bool) -> bytes:
        """Return what SEAL writes before the coefficients."""
        primes, degree = self.shape
        fields = _CIPHERTEXT.pack(self._parms_id, ntt, 2, degree, primes, self._scale, 1)
        return fields + seal_header(_LENGTH.size + 8 * words) + _LENGTH.pack(words)

    def _split(self, body: bytes, words: int, ntt: bool) -> tuple[Words, bytes]:
        """Return coefficients and what follows them, the head checked."""
        head = self._head(words, ntt)
        if not body.startswith(head) or len(body) < len(head) + 8 * words:
            raise SealDataError("ciphertext: not in the form this program knows")
        return np.frombuffer(body, "<u8", words, len(head)), body[len(head) + 8 * words :]


def load_plaintext(buffer: SealBuffer, context: Any, coefficients: NDArray[np.uint64]) -> Any:
    """Return the ``Plaintext`` with these coefficients, (n,) uint64 with n <= N, lowest first."""
    return _load_plaintext(buffer, context, coefficients, bytes(32), 1.0)


def dump_plaintext(buffer: SealBuffer, plaintext: Any, degree: int) -> NDArray[np.uint64]:
    """Return the (degree,) uint64 coefficients of a ``Plaintext``, lowest first."""
    head_bytes = _PLAINTEXT.size + len(seal_header(0)) + _LENGTH.size
    body = buffer.dump(plaintext, head_bytes + 8 * degree)
    found = np.frombuffer(body, "<u8", offset=head_bytes)
    coefficients = np.zeros(degree, np.uint64)
    coefficients[: len(found)] = found
    return coefficients


def _load_plaintext(
    buffer: SealBuffer, context: Any, words: NDArray[np.uint64], parms_id: bytes, scale: float
) -> Any:
    count = len(words)
    head = _PLAINTEXT.pack(parms_id, count, scale) + seal_header(_LENGTH.size + 8 * count)
    head += _LENGTH.pack(count)
    plaintext = sealapi.Plaintext()
    parts: list[bytes | memoryview] = [head, np.ascontiguousarray(words, "<u8").view(np.uint8).data]
    buffer.load(plaintext, context, parts, len(head) + 8 * count)
    return plaintext
