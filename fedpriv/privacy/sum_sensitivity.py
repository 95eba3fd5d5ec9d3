"""How far one client can move noisy sums of integers: in one round, and in all that its part reaches."""

import math

from fedpriv.privacy.matrix_mechanism import BandedToeplitz


def sensitivity(norm: float, dimension: int) -> float:
    """Return the bound on the L2 norm of a vector of L2 norm ``norm`` after conditional rounding.

    min{norm + sqrt(d), sqrt(norm^2 + d/4 + sqrt(2 log(1/beta)) (norm + sqrt(d)/2))} at
    beta = e^-1/2: the first is never exceeded, the second by unbiased random rounding with
    probability at most beta, and then the rounding is drawn again (Kairouz et al. 2021, section 4).

    Args:
        norm: in steps.
        dimension: d.
    """
    root = math.sqrt(dimension)
    return min(norm + root, math.sqrt(norm * norm + dimension / 4 + norm + root / 2))


def reach(norm_bound: float, dimension: int, matrix: BandedToeplitz, refinement: int) -> float:
    """Return how far one participation moves the rows of all rounds together, in L2 and in steps.

    Integers of norm ``norm_bound`` have no more than its square of coordinates that are not 0: in those, and
    in no others, the rounding of a later row moves it by at most one more unit
    (:mod:`fedpriv.privacy.matrix_noise`).

    Args:
        norm_bound: of the integers of one client.
        dimension: d.
        matrix: how noise is correlated over rounds; with one band the result is ``norm_bound``.
        refinement: units in a step.
    """
    return matrix.spread(norm_bound, min(math.sqrt(dimension), norm_bound) / refinement)
