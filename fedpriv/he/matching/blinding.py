"""How a score is hidden from the key holder who decides on it, and what gets through.

The key holder sees y = r (s - t) + e in every slot: s the score, t the threshold, r > 0 the server's
secret, e noise.

**r**: log2 r is uniform over R = 16 bits, drawn from the operating system. Of |s - t| it lets through: for
two scores with |s1 - t| = f |s2 - t| the distributions of log2 y are the same uniform one, moved by log2 f;
their total variation distance is min(1, log2(f) / 16), whatever the scores. One opened number tells a score
from another that is 10 times as far from the threshold with advantage 0.21; the sign it tells always. Every
question about the same pair of faces draws r anew: n answers average it away, which is what query budgets
are for. Factors are multiples of 2^-7, and would be found out by division: where every person has one of
their own, encoding adds a rounding error of standard deviation 2^-7 sqrt(N / 12) = 0.20 to each, which the
key holder does not know.

*Slots that are not asked for* (everybody else of the block, where one person is verified) are masked: y = u
(s - t) + m with u uniform on [-2, 2) and m on [-2^17, 2^17), both new for every slot. y is uniform as m is,
but for a total variation of at most 4 / 2^18 = 2^-16 a slot and 2^-4 a block. With factors in place of masks
they gave the probe away: each tells its distance to the threshold within 16 bits, and 4,096 of them, from
templates that are known, made a cosine of 0.6 with it. So does asking for all who are ``accepted``.

*One r for a whole question* (identification) hides neither the scores nor the probe from a key holder who
knows the gallery: y = G (r p) - r t is linear in r p and r t, so that from as many people as an embedding has
numbers, and one more, least squares returns the probe, exact but for e (cosine 0.999999 from 200 people of
128 dimensions). Who knows no template still learns the order, and the scores roughly: those of 50 strangers
tell r to about 1 / sqrt(50) of their spread.

**e**: flooding. The noise of the ciphertext is multiplied by r as well, so that its size would betray r,
and it holds the caller's encryption noise. For ``faces`` integers uniform on [-2^26, 2^26) are added to
each coefficient of what is rescaled, whose noise at the largest r has a standard deviation of 2^14.4: 2^11
below that of the flooding. The noise of a caller's probe leaves a constant times scale r / last prime, and
the modulus has to hold scale^2 r: at N = 8192 both data primes are therefore as long as SEAL has them, 60
bits, and the scale is as large as they allow. That is no proof of statistical hiding: the bound of
``Evaluation.flood`` says nothing at 2^-11; what the key holder may still measure is whether r is among its
largest few. For ``faces-split`` it is 2^28 below, and the bound is N 2^-26 = 2^-12 for 6 deviations.

The price is a decision that can be wrong near the threshold: e has a standard deviation of 2^-9.8 in y, so
that |s - t| < 0.004 (3.5 deviations) may be decided wrongly at r = 1, |s - t| < 2^-16 at the median r =
2^8.
"""

import math
import secrets

import numpy as np
from numpy.typing import NDArray

from fedpriv.he.matching.people import SLOT_FRACTION
from fedpriv.he.users.sets import ParameterSet

FACTOR_BITS = 16
"""R: log2 of the ratio of the largest to the smallest factor."""

FRACTION_BITS = 7
"""Bits of a factor behind the binary point."""

RAW_FACTOR = 2.0**7
"""The constant factor of what is not blinded, so that rounding in the rescaling costs no precision."""

DEVIATION = 2.0**-9.8
"""Of e, in units of y = r (s - t), for ``faces``; that of ``faces-split`` is 2^-16."""

OPENED_UNIT = SLOT_FRACTION**2 * 2.0**FRACTION_BITS
"""What a slot of an answer holds for y = 1."""

UNASKED = 2.0
"""The largest factor, in magnitude, in slots that are not asked for."""

MASK = 2.0**17
"""What is added in slots that are not asked for is uniform from minus it to it."""

_MOST_FLOOD = 80


def factors(count: int) -> NDArray[np.float64]:
    """Draw ``count`` factors r in [1, 2^16], log-uniform, from the operating system; multiples of 2^-7."""
    words = np.frombuffer(secrets.token_bytes(8 * count), np.uint64) >> np.uint64(11)
    drawn = np.exp2(FACTOR_BITS * words.astype(np.float64) * 2.0**-53)
    rounded: NDArray[np.float64] = np.rint(drawn * 2.0**FRACTION_BITS) / 2.0**FRACTION_BITS
    return rounded


def directions(count: int) -> NDArray[np.float64]:
    """Draw ``count`` weights, uniform on [-1, 1), from the operating system."""
    words = np.frombuffer(secrets.token_bytes(8 * count), np.uint64) >> np.uint64(11)
    return words.astype(np.float64) * 2.0**-52 - 1.0


def flood_log2(parameters: ParameterSet) -> int:
    """Return w of ``Evaluation.flood`` for a product that was rescaled.

    A unit of y is 2^(2 scale - 9) before the last prime is divided out, 2^41 after it for ``faces``, and e
    is to be about 2^-10 of it: uniform on [-2^(w-1), 2^(w-1)), N coefficients have a standard deviation of
    2^w sqrt(N / 24) in a slot.
    """
    prime = parameters.seal.coeff_bits[parameters.primes - 1]
    return min(2 * parameters.scale_log2 + round(math.log2(OPENED_UNIT)) - prime - 14, _MOST_FLOOD)
