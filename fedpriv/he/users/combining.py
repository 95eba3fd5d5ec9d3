"""Decrypting with all key holders' answers; see :mod:`fedpriv.he.users.shares`."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tenseal import sealapi

from fedpriv.errors import UserError
from fedpriv.he.parameters import seal_context
from fedpriv.he.ring import add
from fedpriv.he.sealio import SealBuffer, SealDataError
from fedpriv.he.users.bodies import polynomials, shape_of
from fedpriv.he.users.frames import Frame
from fedpriv.he.users.opening import checked_floats, ckks_plaintext, decoded_integers
from fedpriv.he.users.row_packing import RowPacking
from fedpriv.he.users.sets import ParameterSet
from fedpriv.he.users.shapes import Shape, Words


def combine_integers(
    parameters: ParameterSet, ciphertext: Any, partials: Sequence[bytes]
) -> NDArray[np.int64]:
    """Return the slots of a BFV ciphertext, (N,) int64 in (-t/2, t/2], from all holders' answers for it.

    Raises:
        UserError: when the answers do not belong together: one is missing, twice there, or for another
            ciphertext.
    """
    context = seal_context(parameters.seal)
    words = _phase(parameters, ciphertext, partials)
    # what has no c1 decrypts under any key
    frame = Frame(parameters.seal, Shape(2, len(words)), ntt=False)
    with SealBuffer() as buffer:
        opened = frame.write(buffer, np.stack([words, np.zeros_like(words)]))
    decryptor = sealapi.Decryptor(context, sealapi.KeyGenerator(context).secret_key())
    try:
        return decoded_integers(parameters, decryptor, opened)
    except UserError:
        raise _unfit() from None


def combine_floats(
    parameters: ParameterSet, ciphertext: Any, partials: Sequence[bytes], limit: float
) -> NDArray[np.float64]:
    """Return the slots of a CKKS ciphertext, (N / 2,) float64, from all holders' answers for it.

    The smudging, at least 2^40 times as large as the ciphertext's noise, stays in it: unlike an owner's exact
    decryption it may be shown.

    Args:
        parameters: of the key.
        ciphertext: that was opened.
        partials: the answers, in any order.
        limit: the most that a slot can be in magnitude.

    Raises:
        UserError: when a slot is beyond it: the answers do not belong together.
    """
    words = _phase(parameters, ciphertext, partials)
    plaintext = ckks_plaintext(parameters, words, shape_of(parameters, ciphertext))
    try:
        return checked_floats(parameters, plaintext, limit)
    except UserError:
        raise _unfit() from None


def _phase(parameters: ParameterSet, ciphertext: Any, partials: Sequence[bytes]) -> Words:
    """Return c0 + d_1 + ... + d_n, (primes, N)."""
    shape = shape_of(parameters, ciphertext)
    moduli = parameters.moduli(shape.primes)
    rows = RowPacking(moduli, parameters.seal.poly_degree)
    total: Words = polynomials(parameters, ciphertext)[0].copy()
    for partial in partials:
        try:
            add(total, rows.unpack(partial), moduli)
        except SealDataError as error:
            raise UserError(f"partial decryption: {error}; ask the key holder again") from error
    return total


def _unfit() -> UserError:
    return UserError(
        "partial decryptions: do not belong together: one is missing, there twice or for another ciphertext; "
        "ask all key holders again"
    )
