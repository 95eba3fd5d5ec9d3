"""Results opened by several key holders: each writes what its share makes of a result, nobody opens alone.

A holder opens whatever result it answers for: it should answer for results of servers that it trusts to have
computed what they say. Layout, little-endian: magic ``FPTP``, version u16, holder u16, holders u16, 6 bytes
of zeros, fingerprint of the key 32, SHA-256 of the result 32, bytes of a polynomial u64, polynomials u64;
the polynomials; and the SHA-256 of all before it.
"""

import hashlib
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedpriv.errors import FormatError, UserError
from fedpriv.he.key_files import read_public
from fedpriv.he.ring import add, negate
from fedpriv.he.tables.computing import MOST_CIPHERTEXTS, RESULT_PRIMES
from fedpriv.he.tables.opening import ResultHead, result_head
from fedpriv.he.tables.packing import Packing
from fedpriv.he.tables.plan import TablePlan
from fedpriv.he.tables.polynomials import Coefficients
from fedpriv.he.tables.release import PrivateRelease
from fedpriv.he.tables.scoring import scores_head
from fedpriv.he.tables.sums import Integers
from fedpriv.he.users.bodies import polynomials
from fedpriv.he.users.cipher_reading import open_ciphers
from fedpriv.he.users.combining import combine_integers
from fedpriv.he.users.evaluation import Evaluation
from fedpriv.he.users.public_keys import PublicKeys
from fedpriv.he.users.row_packing import RowPacking
from fedpriv.he.users.shares import UserShare
from fedpriv.privacy.noise import RandomSource

NOISE_LOG2 = 14
"""Of a result: at most 2^13 is left of the flooding after the switch of level, whose own rounding with a
ternary secret is at most about N / 3 < 2^12.5."""

_HEAD = struct.Struct("<4sHHH6x32s32sQQ")
_MAGIC, _VERSION = b"FPTP", 1
_MOST_BYTES = 1 << 32


@dataclass(frozen=True)
class Partial:
    """One holder's answer.

    Attributes:
        holder: its number.
        holders: how many there are.
        polynomials: one for each ciphertext of the result, packed.
    """

    holder: int
    holders: int
    polynomials: list[bytes]


def read_head(path: Path, keys: PublicKeys) -> ResultHead:
    """Return what a result says of itself.

    Raises:
        UserError: when it is no result, or under another key.
    """
    with open_ciphers(path, keys, most=MOST_CIPHERTEXTS, primes=(RESULT_PRIMES,)) as reader:
        return result_head(path, reader)


def partial_of(result: Path, share: UserShare, noise: Sequence[Integers] | None = None) -> bytes:
    """Return a holder's answer for a result: with those of all others it opens the result.

    Args:
        result: of the server, sums or scores.
        share: of the holder.
        noise: for each block's targets, added before anybody sees a sum; see :meth:`PrivateRelease.noise`.

    Raises:
        UserError: when the result cannot be read, is under another key, or holds scores and there is noise.
    """
    with open_ciphers(result, share.public, most=MOST_CIPHERTEXTS, primes=(RESULT_PRIMES,)) as reader:
        adding, made = None, []
        if noise is not None:
            adding = _Adding(share.public, result_head(result, reader), noise)
        elif reader.head.metadata.get("kind") == "scores":
            scores_head(result, reader)
        else:
            result_head(result, reader)
        for place, ciphertext in enumerate(reader):
            answer = share.partial(ciphertext, NOISE_LOG2)
            made.append(answer if adding is None else adding.added(place, ciphertext, answer))
    size = len(made[0]) if made else 0
    content = _HEAD.pack(
        _MAGIC,
        _VERSION,
        share.number,
        share.holders,
        bytes.fromhex(share.public.fingerprint),
        _digest(result),
        size,
        len(made),
    ) + b"".join(made)
    return content + hashlib.sha256(content).digest()


def read_partial(path: Path, result: Path, keys: PublicKeys) -> Partial:
    """Read a holder's answer for ``result``.

    Raises:
        UserError: when it is none, damaged, or for another result or key.
    """
    data = read_public(path, _MOST_BYTES)
    if not data.startswith(_MAGIC) or len(data) < _HEAD.size + 32:
        raise FormatError(path, 0, "is no holder's answer; name files of `fedpriv stats decrypt --share`")
    _, version, holder, holders, key, digest, size, count = _HEAD.unpack_from(data)
    if version != _VERSION:
        raise FormatError(path, 4, f"an answer of version {version}; this program reads {_VERSION}")
    keys.require(key.hex(), path)
    if len(data) != _HEAD.size + size * count + 32 or hashlib.sha256(data[:-32]).digest() != data[-32:]:
        raise FormatError(path, None, "damaged; ask the holder again")
    if digest != _digest(result):
        raise FormatError(path, None, f"answers for another result than {result}; ask the holder again")
    starts = range(_HEAD.size, _HEAD.size + size * count, size) if size else range(0)
    return Partial(holder, holders, [data[start : start + size] for start in starts])


def opener(partials: Sequence[Path], result: Path, keys: PublicKeys) -> "Combining":
    """Return what opens the ciphertexts of ``result``, one after the other, from all holders' answers.

    Raises:
        UserError: naming the holders that are missing or there twice; and as :func:`read_partial`.
    """
    found = [read_partial(path, result, keys) for path in partials]
    holders = {each.holders for each in found}
    numbers = sorted(each.holder for each in found)
    if len(holders) != 1:
        raise UserError("--partials: no answers, or of different splits of the key; name one of each holder")
    everybody = list(range(1, holders.pop() + 1))
    if numbers != everybody:
        missing = sorted(set(everybody) - set(numbers)) or [n for n in everybody if numbers.count(n) > 1]
        raise UserError(
            f"--partials: {len(numbers)} answers for {len(everybody)} holders; holder {missing[0]} is "
            f"missing or there twice"
        )
    with open_ciphers(result, keys, most=MOST_CIPHERTEXTS) as reader:
        count = reader.head.count
    if any(len(each.polynomials) != count for each in found):
        raise FormatError(result, None, f"{count} ciphertexts, and an answer for another number; ask again")
    return Combining(keys, found)


class Combining:
    """Opens the ciphertexts of one result in their order; as :data:`~fedpriv.he.tables.opening.Open`."""

    def __init__(self, keys: PublicKeys, partials: Sequence[Partial]) -> None:
        """Hold checked answers."""
        self._set = keys.set
        self._answers: Iterator[tuple[bytes, ...]] = zip(
            *(each.polynomials for each in partials), strict=True
        )

    def __call__(self, ciphertext: Any) -> NDArray[np.int64]:
        """Return the (N,) slots of the next ciphertext."""
        return combine_integers(self._set, ciphertext, next(self._answers))


class _Adding:
    """Adds a holder's noise to its answers: what SEAL would add to c0 for a plaintext of that noise."""

    def __init__(self, keys: PublicKeys, head: ResultHead, noise: Sequence[Integers]) -> None:
        self._evaluation, self._noise = Evaluation(keys), noise
        self._set, plan = keys.set, TablePlan(head.schema)
        self._packing, self._coefficients = Packing(keys.set.seal.poly_degree), Coefficients(keys.set)
        self._targets = [
            self._packing.targets(plan.size(block.left), plan.size(block.right))
            for block in plan.blocks(head.pairs)
        ]
        self._rows = RowPacking(keys.set.moduli(RESULT_PRIMES), keys.set.seal.poly_degree)

    def added(self, place: int, ciphertext: Any, answer: bytes) -> bytes:
        coefficients = np.zeros(self._packing.degree, np.int64)
        coefficients[self._targets[place]] = self._noise[place]
        moved = self._evaluation.add_plain(ciphertext, self._coefficients.plaintext(coefficients))
        moduli = self._set.moduli(RESULT_PRIMES)
        words = self._rows.unpack(answer)
        add(words, polynomials(self._set, moved)[0], moduli)
        add(words, negate(polynomials(self._set, ciphertext)[0], moduli), moduli)
        return self._rows.pack(words)


def private_noise(
    release: PrivateRelease, head: ResultHead, keys: PublicKeys, holders: int, source: RandomSource
) -> list[Integers]:
    """Return a holder's noise, after a look whether sums with the noise of all holders still fit.

    Raises:
        UserError: when they might not.
    """
    noise = release.noise(source)
    plan = TablePlan(head.schema)
    rows = head.chunks * Packing(keys.set.seal.poly_degree).chunk
    for block, drawn in zip(plan.blocks(head.pairs), noise, strict=True):
        most = rows * max(plan.reaches(block.left)) * max(plan.reaches(block.right))
        if most + 32 * holders * int(np.abs(drawn).max()) > keys.set.seal.plain_modulus // 2:
            raise UserError(
                "--epsilon: sums with the noise of all holders might not fit; raise it or keep fewer decimals"
            )
    return noise


def _digest(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
