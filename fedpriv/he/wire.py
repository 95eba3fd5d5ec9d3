"""Ciphertexts and plaintexts as coefficients and seeds: the only parts that ever cross a border.

A fresh ciphertext travels as its first polynomial, packed to the width of the primes, and the
64-byte seed of its second; a sum as both polynomials. Everything else that SEAL's format holds is
constant for given parameters and is written by the receiver, so that SEAL's parser never sees a
length or a type that somebody else chose.
"""

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tenseal import sealapi

from fedpriv.he.parameters import BFVParameters, seal_context
from fedpriv.he.sealio import SealBuffer, SealDataError, seal_header
from fedpriv.he.words import pack_words, packed_bytes, unpack_words

_CIPHERTEXT = struct.Struct("<32s?QQQdQ")
_PLAINTEXT = struct.Struct("<32sQd")
_LENGTH = struct.Struct("<Q")
_SEED_BYTES = 64
_BLAKE2XB = b"\x01"


@dataclass(frozen=True)
class Unpacked:
    """A ciphertext whose coefficients were checked.

    Attributes:
        words: (polynomials * primes * N,) uint64.
        seed: 64 bytes that the second polynomial grows from, or none in a sum.
    """

    words: NDArray[np.uint64]
    seed: bytes


class CiphertextWire:
    """Reads and writes ciphertexts of one set of parameters.

    Attributes:
        fresh_bytes: exact bytes of a fresh ciphertext.
        sum_bytes: exact bytes of a sum.
    """

    def __init__(self, parameters: BFVParameters) -> None:
        """Prepare the constant parts."""
        self._context = seal_context(parameters)
        data = self._context.first_context_data().parms()
        self._moduli = np.array([modulus.value() for modulus in data.coeff_modulus()], np.uint64)
        self._degree = parameters.poly_degree
        self._words = self._degree * len(self._moduli)
        self._width = int(self._moduli.max()).bit_length()
        self._cap = 16 * self._words + 512
        self._seed_head = seal_header(1 + _SEED_BYTES) + _BLAKE2XB
        self.fresh_bytes = packed_bytes(self._words, self._width) + _SEED_BYTES
        self.sum_bytes = packed_bytes(2 * self._words, self._width)

    def write_fresh(self, buffer: SealBuffer, ciphertext: Any) -> bytes:
        """Return a ``SerializableCiphertext`` in ``fresh_bytes``."""
        body = buffer.dump(ciphertext, self._cap)
        words, rest = self._split(body, self._words)
        if not rest.startswith(self._seed_head) or len(rest) != len(self._seed_head) + _SEED_BYTES:
            raise SealDataError("ciphertext: not seeded by Blake2xb")
        return pack_words(words, self._width) + rest[len(self._seed_head) :]

    def write_sum(self, buffer: SealBuffer, ciphertext: Any) -> bytes:
        """Return a ``Ciphertext`` of two polynomials in ``sum_bytes``."""
        words, rest = self._split(buffer.dump(ciphertext, self._cap), 2 * self._words)
        if rest:
            raise SealDataError("ciphertext: seeded, a sum was expected")
        return pack_words(words, self._width)

    def unpack(self, data: memoryview) -> Unpacked:
        """Read the coefficients of a fresh ciphertext or a sum, without SEAL.

        Raises:
            SealDataError: when the size is neither, or a coefficient is not below its prime.
        """
        if len(data) == self.fresh_bytes:
            count, seed = self._words, bytes(data[-_SEED_BYTES:])
        elif len(data) == self.sum_bytes:
            count, seed = 2 * self._words, b""
        else:
            raise SealDataError(
                f"ciphertext: {len(data)} bytes, {self.fresh_bytes} or {self.sum_bytes} expected"
            )
        words = unpack_words(data[: len(data) - len(seed)], count, self._width)
        if (words.reshape(-1, len(self._moduli), self._degree) >= self._moduli[:, np.newaxis]).any():
            raise SealDataError("ciphertext: a coefficient is not below its modulus")
        return Unpacked(words, seed)

    def load(self, buffer: SealBuffer, unpacked: Unpacked) -> Any:
        """Return the ``sealapi.Ciphertext`` of checked coefficients."""
        tail = self._seed_head + unpacked.seed if unpacked.seed else b""
        head = self._head(len(unpacked.words))
        ciphertext = sealapi.Ciphertext()
        buffer.load(ciphertext, self._context, [head, unpacked.words.view(np.uint8).data, tail], self._cap)
        return ciphertext

    def _head(self, words: int) -> bytes:
        """Return what SEAL writes before the coefficients."""
        parms_id = struct.pack("<4Q", *self._context.first_parms_id())
        fields = _CIPHERTEXT.pack(parms_id, False, 2, self._degree, len(self._moduli), 1.0, 1)
        return fields + seal_header(_LENGTH.size + 8 * words) + _LENGTH.pack(words)

    def _split(self, body: bytes, words: int) -> tuple[NDArray[np.uint64], bytes]:
        """Return coefficients and what follows them, the head checked."""
        head = self._head(words)
        if not body.startswith(head) or len(body) < len(head) + 8 * words:
            raise SealDataError("ciphertext: not in the form this program knows")
        return np.frombuffer(body, "<u8", words, len(head)), body[len(head) + 8 * words :]


def load_plaintext(buffer: SealBuffer, context: Any, coefficients: NDArray[np.uint64]) -> Any:
    """Return the ``Plaintext`` with these coefficients, (n,) uint64 with n <= N, lowest first."""
    count = len(coefficients)
    head = (
        _PLAINTEXT.pack(bytes(32), count, 1.0) + seal_header(_LENGTH.size + 8 * count) + _LENGTH.pack(count)
    )
    plaintext = sealapi.Plaintext()
    parts: list[bytes | memoryview] = [head, np.ascontiguousarray(coefficients, "<u8").view(np.uint8).data]
    buffer.load(plaintext, context, parts, len(head) + 8 * count)
    return plaintext


def dump_plaintext(buffer: SealBuffer, plaintext: Any, degree: int) -> NDArray[np.uint64]:
    """Return the (degree,) uint64 coefficients of a ``Plaintext``, lowest first."""
    head_bytes = _PLAINTEXT.size + len(seal_header(0)) + _LENGTH.size
    body = buffer.dump(plaintext, head_bytes + 8 * degree)
    found = np.frombuffer(body, "<u8", offset=head_bytes)
    coefficients = np.zeros(degree, np.uint64)
    coefficients[: len(found)] = found
    return coefficients
