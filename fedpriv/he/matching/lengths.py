"""What an encrypted probe has to prove: that it is a real vector of length 1.

A probe is anybody's ciphertexts. Longer than 1, it would raise every score; at length 100 each answer is
the sign of a scalar product with a template, a fair bit, and 32 of them come to a cosine of 0.4 with it.
With imaginary parts, which no score shows, p^2 could be made 1 at any length. So the server opens to the key
holder, beside the answer and in every slot, for a probe p = x + i y there and secret weights v and w, drawn
for this question, uniform on [-1, 1):

- x^2 - y^2 - 1, the real part of p^2 - 1, which has to be 0;
- <v, x>, at most 4 in magnitude;
- <w, x> + 2^16 <v, y>, at most 4 in magnitude.

The first is read modulo 2^26 (modulus / scale^2), as all values of CKKS: below |p| = 2^12.5 in every slot no
coefficient is wrapped, and it says what it is, but 1 + 2^26 is 1 there as well. The other two are for what is
longer. For a unit vector u the density of <v, u> is at most 1 / sqrt(2) (Ball 1986, Cube slicing in R^n,
Proc. AMS 97), so that of |x| >= 2^12 each passes with probability at most 4 sqrt(2) / |x| <= 2^-9.5, both
with 2^-19; and imaginary parts with at most 2^-13.5 / |y|. They are read modulo 2^26 as well, which lets
vectors that are long enough to wrap pass each with at most 2^-15. None of it depends on how a caller shapes
noise and rounding, or on slots being equal: all are looked at, for a ciphertext wraps as a whole.

An honest probe is refused with probability 2e-9: uniform weights are sub-Gaussian of variance 1/3. The key
holder learns two projections of it, on directions that only the server knows.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedpriv.errors import UserError
from fedpriv.he.matching.blinding import RAW_FACTOR, directions, flood_log2
from fedpriv.he.matching.people import SLOT_FRACTION
from fedpriv.he.users.evaluation import Evaluation
from fedpriv.he.users.keys import UserKeys

Claims = tuple[Any, Any, Any]
"""Ciphertexts, not rescaled: p^2, <v, p>, and <w, p> - 2^16 i <v, p>; real parts are what is opened."""

CLAIMS = 3
"""How many ciphertexts of a question they are."""

LENGTH_TOLERANCE = 2.0**-13
"""Of |p|^2: 14 standard deviations of the flooding, for ``faces``."""

PROJECTION = 4.0
"""The most that a projection of a unit vector may be: 7 standard deviations."""

TURNED = 2.0**16
"""How much imaginary parts count, beside real ones."""


def weights(dim: int) -> NDArray[np.float64]:
    """Draw v and w, (2, dim), uniform on [-1, 1), from the operating system."""
    return directions(2 * dim).reshape(2, dim)


def claimed(evaluation: Evaluation, claims: Claims) -> list[Any]:
    """Return the ciphertexts to open, rescaled and flooded (the server's side)."""
    squares, along, across = claims
    one = evaluation.constant(SLOT_FRACTION**2, like=squares)
    # not blinded by any factor, hence flooded less than an answer
    wide = flood_log2(evaluation.set) - 2
    narrow = flood_log2(evaluation.set) - round(2 * np.log2(RAW_FACTOR))
    pairs = (
        (evaluation.sub_plain(evaluation.relinearise(squares), one), narrow),
        (along, wide),
        (across, wide),
    )
    return [evaluation.flood(evaluation.rescale(each), width) for each, width in pairs]


def require_unit(keys: UserKeys, ciphertexts: Sequence[Any]) -> None:
    """Refuse a probe that is not a real vector of length 1 in every slot (the key holder's side).

    Raises:
        UserError: when it is not.
    """
    bounds = (LENGTH_TOLERANCE, PROJECTION, PROJECTION)
    for ciphertext, bound in zip(ciphertexts, bounds, strict=True):
        # also refuses NaN
        if not (np.abs(keys.decrypt_floats(ciphertext)) <= bound * SLOT_FRACTION**2).all():
            raise UserError(
                "probe: is not a vector of real numbers of length 1, which scores are defined for"
            )
