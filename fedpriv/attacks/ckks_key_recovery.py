"""Key recovery from exact CKKS decryptions: Li and Micciancio, EUROCRYPT 2021, eprint 2020/1533.

Let (c0, c1) be a ciphertext in R_q = Z_q[X]/(X^N + 1) and Delta its scale. Decryption computes
m = c0 + c1 s, in which the error of the encryption is part of m, and returns floats that are a linear
image of m. Floats that are precise enough give m back by rounding, and then

    c1 s = m - c0  (mod q)

is linear in the secret key s, with a known left factor: there is nothing left of the noise that hides s.

Which floats are published decides how many ciphertexts it takes:

- the N coefficients m / Delta: one ciphertext, s = (m - c0) / c1 at every point of the NTT.
- the real parts of the N / 2 slots (what TenSEAL returns): the slots are m(w) / Delta at N / 2 roots w of
  X^N + 1, one of each pair w, 1/w, so their real parts know m + m* only, where m*(X) = m(1/X). Each
  ciphertext gives, for every pair of points, one equation in two unknowns, s(w) and s(1/w):

      c1(w) s(w) + c1(1/w) s(1/w) = (m + m*)(w) - c0(w) - c0(1/w)  (mod q).

  Two ciphertexts under one key solve it. In SEAL's order of the NTT, 1/w stands at the mirrored position.
  All N / 2 slots are needed: of a vector that fills a part of them, the rest is not published.

Precision. Errors of standard deviation eps on the slots become errors of 2 Delta eps / sqrt(N) on the
integer coefficients of m + m* (:func:`tolerated_error`); rounding removes them while they stay below 1/2.
float32 has an eps of about 2^-25 |value|, so float32 outputs give the key away where values stay below
about 0.1 at a scale of 2^30, and below about 2^-12 at 2^40. An adversary who can ask twice need not care: it
asks for the sum, subtracts what it got from c0, and asks for the difference, whose float32 holds the digits
that the first answer rounded away. Nor need one who makes values cancel.

The same holds for any rounding, and for flooding: what counts is its size against sqrt(N) / Delta, not its
number of bits. It stops this attack; that it stops every attack is not shown here (see Li, Micciancio,
Schultz, Sorrell, CRYPTO 2022, eprint 2022/816, for how much flooding a proof asks for).
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from fedpriv.attacks.ckks_embedding import doubled_real_part, evaluate, lifted, residues
from fedpriv.he.ring import Ring, add, multiply, negate
from fedpriv.he.sealio import SealBuffer
from fedpriv.he.wire import Words


@dataclass(frozen=True)
class Opened:
    """What an onlooker has of one ciphertext that was decrypted and published.

    Attributes:
        c0: (L, N) uint64, in the NTT domain.
        c1: (L, N) uint64, in the NTT domain.
        values: what was published, in the float type it was published in: (N / 2,) real parts of the slots,
            or (N,) coefficients divided by the scale.
        scale: Delta.
    """

    c0: Words
    c1: Words
    values: NDArray[np.floating]
    scale: float


@dataclass(frozen=True)
class KeyRecovery:
    """The adversary's best guess of the key.

    Attributes:
        key: (N,) int8 coefficients.
        certain: whether every coefficient came out small, and the same modulo every prime. A wrong solution
            is uniform modulo q, so it never does by chance.
    """

    key: NDArray[np.int8]
    certain: bool

    def fraction(self, secret: NDArray[np.int8]) -> float:
        """Return the share of coefficients that are right; 1/3 is chance for a ternary key."""
        return float(np.mean(self.key == secret))

    def opens(self, ring: Ring, fresh: Opened, tolerance: float) -> bool:
        """Whether the key decrypts a ciphertext that took no part in the attack to ``fresh.values``."""
        found = decrypt(ring, self.key, fresh.c0, fresh.c1, fresh.scale)
        return bool(np.abs(found - fresh.values).max() <= tolerance)


def recover_key(ring: Ring, opened: Sequence[Opened], bound: int = 1, most_tries: int = 8) -> KeyRecovery:
    """Recover the secret key under which all of ``opened`` were encrypted.

    The most precise ones are tried first, one by one or in pairs, by what was published.

    Args:
        ring: of the ciphertexts.
        opened: ciphertexts with what was published of them.
        bound: largest coefficient of the key in magnitude: 1 for SEAL's keys, n for the sum of n of them.
        most_tries: linear systems to solve before giving up.

    Returns:
        The key if some system gave it; else the first solution cut to ``bound``, which is noise.

    Raises:
        ValueError: when shapes do not fit the ring, or no system has a unique solution.
    """
    guess: KeyRecovery | None = None
    for solution in itertools.islice(_solutions(ring, opened), most_tries):
        found = _as_key(ring, solution, bound)
        if found.certain:
            return found
        guess = guess or found
    if guess is None:
        raise ValueError(
            f"opened: no unique solution from {len(opened)} ciphertexts; two of the slots are needed"
        )
    return guess


def key_of_product(ring: Ring, product: Words, c1: Words, bound: int = 1) -> KeyRecovery:
    """Return the key s of c1 s = product, all in the NTT domain; c1 has no zero residue."""
    return _as_key(ring, multiply(product, _inverse(c1, ring.moduli), ring.moduli), bound)


def decrypt(ring: Ring, key: NDArray[np.int8], c0: Words, c1: Words, scale: float) -> NDArray[np.float64]:
    """Return the (N / 2,) real parts of the slots of a ciphertext under a key."""
    with SealBuffer() as buffer:
        phase = multiply(c1, ring.to_ntt(buffer, residues(key.tolist(), ring)), ring.moduli)
        add(phase, c0, ring.moduli)
        polynomial = lifted(ring.from_ntt(buffer, phase), ring)
    return evaluate(np.array(polynomial, np.float64)).real / scale


def tolerated_error(scale: float, degree: int) -> float:
    """Return the largest standard deviation of Gaussian errors of the slots that rounding removes.

    That is, with probability 1/2 for all N coefficients of both ciphertexts:
    eps = sqrt(N) / (2 Delta) * 1 / (2 z), where z is the quantile of a standard normal that 2 N draws
    exceed in magnitude with probability 1/2.
    """
    quantile = NormalDist().inv_cdf(1 - math.log(2) / (4 * degree))
    return math.sqrt(degree) / (2 * scale) / (2 * quantile)


def _solutions(ring: Ring, opened: Sequence[Opened]) -> Iterator[Words]:
    """Yield solutions for s in the NTT domain, those of the most precise floats first."""
    for item in opened:
        _check(ring, item)
    ordered = sorted(opened, key=_rounding)
    for item in ordered:
        if len(item.values) == ring.degree and item.c1.all():
            yield multiply(_known(ring, item), _inverse(item.c1, ring.moduli), ring.moduli)
    halves = [item for item in ordered if len(item.values) < ring.degree]
    for later, second in enumerate(halves):
        for first in halves[:later]:
            columns = _mirrored(first.c1), _mirrored(second.c1)
            determinant = _determinant(ring, first.c1, columns[0], second.c1, columns[1])
            if determinant.all():
                numerator = _determinant(
                    ring, _known(ring, first), columns[0], _known(ring, second), columns[1]
                )
                yield multiply(numerator, _inverse(determinant, ring.moduli), ring.moduli)


def _check(ring: Ring, item: Opened) -> None:
    """Raise ValueError unless a ciphertext and its floats fit the ring."""
    shape = (len(ring.moduli), ring.degree)
    if item.c0.shape != shape or item.c1.shape != shape:
        raise ValueError(f"ciphertext: shapes {item.c0.shape} and {item.c1.shape}, {shape} expected")
    if item.values.shape not in {(ring.degree // 2,), (ring.degree,)}:
        raise ValueError(
            f"values: shape {item.values.shape}, {ring.degree // 2} slots or {ring.degree} coefficients"
        )
    if not np.isfinite(item.values).all():
        raise ValueError("values: not finite")


def _known(ring: Ring, item: Opened) -> Words:
    """Return what the key's equation has on its right: the published part of m minus that of c0."""
    values, c0 = item.values.astype(np.float64), item.c0.copy()
    if len(values) < ring.degree:
        values = doubled_real_part(values)
        add(c0, _mirrored(item.c0), ring.moduli)
    integers = map(int, np.rint(values * item.scale).tolist())
    with SealBuffer() as buffer:
        known = ring.to_ntt(buffer, residues(integers, ring))
    add(known, negate(c0, ring.moduli), ring.moduli)
    return known


def _mirrored(polynomial: Words) -> Words:
    """Return p(1/X) for p(X), both in the NTT domain."""
    return polynomial[:, ::-1]


def _determinant(ring: Ring, a: Words, b: Words, c: Words, d: Words) -> Words:
    """Return a d - b c."""
    product = multiply(a, d, ring.moduli)
    add(product, negate(multiply(b, c, ring.moduli), ring.moduli), ring.moduli)
    return product


def _inverse(words: Words, moduli: Words) -> Words:
    """Return the inverses of residues, none of which is zero."""
    rows = zip(words.tolist(), moduli[:, 0].tolist(), strict=True)
    return np.array([[pow(number, -1, prime) for number in row] for row, prime in rows], np.uint64)


def _as_key(ring: Ring, solution: Words, bound: int) -> KeyRecovery:
    """Return a solution as a key."""
    with SealBuffer() as buffer:
        centred = _centred(ring, ring.from_ntt(buffer, solution))
    certain = bool((np.abs(centred) <= bound).all() and (centred == centred[0]).all())
    return KeyRecovery(np.clip(centred[0], -bound, bound).astype(np.int8), certain)


def _centred(ring: Ring, words: Words) -> NDArray[np.int64]:
    """Return residues as integers between -p/2 and p/2, each modulo its own prime."""
    return np.where(words > ring.moduli // 2, words - ring.moduli, words).view(np.int64)


def _rounding(item: Opened) -> float:
    """Return how coarse the floats of a published sum are, as errors of m, up to a factor."""
    spacing = np.spacing(np.abs(item.values)).astype(np.float64)
    return float(np.sqrt(np.mean(spacing**2))) * item.scale
