"""From ciphertexts to slots, for whoever has something that decrypts."""

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tenseal import sealapi

from fedpriv.errors import UserError
from fedpriv.he.parameters import seal_context
from fedpriv.he.sealio import SealBuffer, seal_header
from fedpriv.he.users.frames import level_id
from fedpriv.he.users.sets import ParameterSet
from fedpriv.he.users.shapes import Shape, Words

_PLAINTEXT = struct.Struct("<32sQd")
_LENGTH = struct.Struct("<Q")


def decoded_integers(parameters: ParameterSet, decryptor: Any, ciphertext: Any) -> NDArray[np.int64]:
    """Return (N,) int64 in (-t/2, t/2].

    Raises:
        UserError: when the noise is so large that rounding gives garbage.
        ValueError: for CKKS.
    """
    if parameters.ckks:
        raise ValueError(f"{parameters.name}: holds floats")
    if decryptor.invariant_noise_budget(ciphertext) <= 0:
        raise UserError(
            "ciphertext: does not decrypt: under another key, damaged, or computed beyond its noise budget; "
            "encrypt again with this key"
        )
    plaintext = sealapi.Plaintext()
    decryptor.decrypt(ciphertext, plaintext)
    encoder = sealapi.BatchEncoder(seal_context(parameters.seal))
    return np.array(encoder.decode_int64(plaintext), np.int64)


def decoded_floats(
    parameters: ParameterSet, decryptor: Any, ciphertext: Any, limit: float | None
) -> NDArray[np.float64]:
    """Return (N / 2,) float64.

    Raises:
        UserError: when a slot is beyond ``limit`` in magnitude.
        ValueError: for BFV.
    """
    if not parameters.ckks:
        raise ValueError(f"{parameters.name}: holds integers")
    plaintext = sealapi.Plaintext()
    decryptor.decrypt(ciphertext, plaintext)
    return checked_floats(parameters, plaintext, limit)


def checked_floats(parameters: ParameterSet, plaintext: Any, limit: float | None) -> NDArray[np.float64]:
    """Return the slots of a CKKS plaintext; raises as :func:`decoded_floats`."""
    encoder = sealapi.CKKSEncoder(seal_context(parameters.seal))
    slots = np.array(encoder.decode_double(plaintext), np.float64)
    if limit is not None and not (np.abs(slots) <= limit).all():
        raise UserError(
            f"ciphertext: a value is beyond {limit:g}: under another key, damaged, or not what was asked "
            "for; encrypt again with this key"
        )
    return slots


def ckks_plaintext(parameters: ParameterSet, words: Words, shape: Shape) -> Any:
    """Return residues in the NTT domain, (primes, N), as the plaintext that they are in CKKS."""
    flat = np.ascontiguousarray(words, "<u8").view(np.uint8).reshape(-1).data
    name = np.array(level_id(parameters.seal, shape.primes), "<u8").tobytes()
    head = plaintext_head(name, words.size, shape.scale)
    plaintext = sealapi.Plaintext()
    with SealBuffer() as buffer:
        buffer.load(plaintext, seal_context(parameters.seal), [head, flat], len(head) + len(flat))
    return plaintext


def plaintext_head(name: bytes, count: int, scale: float) -> bytes:
    """Return what SEAL writes before the ``count`` coefficients of a plaintext, or of a secret key.

    Args:
        name: SEAL's, of the parameters, 32 bytes.
        count: of uint64.
        scale: of CKKS, else 1.
    """
    return _PLAINTEXT.pack(name, count, scale) + seal_header(_LENGTH.size + 8 * count) + _LENGTH.pack(count)
