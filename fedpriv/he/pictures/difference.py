"""Encryption, subtraction and opening of pictures' values, one ciphertext at a time.

The server learns how many values there are, to a multiple of :attr:`ValuePacking.per_ciphertext`, and nothing
else. It adds no noise of its own to a difference: whoever opens it made both operands, and what noise there
is in it is theirs. There is nothing of the server's in it to hide.

Exactness: the error of a fresh symmetric ciphertext is at most 21 in every coefficient and rounding adds at
most 1, so that a difference has at most 44, and BFV decrypts exactly what has less than q / (2 t), about 2^13
here. That is a bound, not a probability.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedpriv.errors import UserError
from fedpriv.he.pictures.packing import ValuePacking
from fedpriv.he.users.encrypting import Encryptor
from fedpriv.he.users.evaluation import Evaluation
from fedpriv.he.users.keys import UserKeys


def encrypted(encryptor: Encryptor, values: NDArray[np.uint8]) -> Iterator[bytes]:
    """Yield (n,) values as packed ciphertexts, the last one filled up with zeros.

    Args:
        encryptor: of the owner: seeded, 27,712 bytes for 16,384 values.
        values: of any number of pictures, one after the other.
    """
    packing = ValuePacking(encryptor.set)
    for begin in range(0, len(values), packing.per_ciphertext):
        yield encryptor.unsigned(packing.pack(values[begin : begin + packing.per_ciphertext]))


def subtracted(evaluation: Evaluation, firsts: Iterable[Any], seconds: Iterable[Any]) -> Iterator[Any]:
    """Yield first - second of each pair of ciphertexts: what the server does.

    Raises:
        UserError: when both are one and the same ciphertext: the difference would hide nothing.
        ValueError: when one has more ciphertexts than the other.
    """
    for first, second in zip(firsts, seconds, strict=True):
        yield evaluation.sub(first, second)


def opened(keys: UserKeys, ciphertexts: Iterable[Any], count: int) -> NDArray[np.int16]:
    """Return the differences, (count,) int16 in -255..255, that ``ciphertexts`` hold.

    Raises:
        UserError: when one does not decrypt, is no difference of values, or there are too few or too many.
    """
    packing = ValuePacking(keys.set)
    found = np.empty(count, np.int16)
    begin = 0
    for ciphertext in ciphertexts:
        size = min(packing.per_ciphertext, count - begin)
        if size <= 0:
            raise UserError(f"server's answer: more than {packing.ciphertexts(count)} ciphertexts")
        found[begin : begin + size] = packing.unpack(keys.decrypt_integers(ciphertext), size)
        begin += size
    if begin < count:
        raise UserError(f"server's answer: {begin} of {count} values; ask again")
    return found
