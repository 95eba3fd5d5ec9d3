"""Sums made private before they are shown: how much noise each needs, for one row added or removed.

A row adds to sum c at most its sensitivity D_c, the product of its columns' reach by the public bounds. All K
sums that it touches together are rho-zero-concentrated private when sum c gets a discrete Gaussian of
variance D_c^2 K / (2 rho): its own loss is rho / K (Canonne, Kamath, Steinke 2020, arXiv 2004.00010). A row
is in one part of a grouped table and in one bin of a histogram: the noise of one part covers all.

Public, and not protected: the schema, the number of rows rounded up to whole chunks, which statistics were
asked for.
"""

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fedpriv.errors import UserError
from fedpriv.he.tables.plan import Block, TablePlan
from fedpriv.he.tables.schema import Schema
from fedpriv.he.tables.sums import Integers
from fedpriv.he.tables.wide_gaussian import WIDE_DISTANCE, wide_gaussian
from fedpriv.privacy.charge import ConcentratedSample
from fedpriv.privacy.composition import Loss, spent
from fedpriv.privacy.noise import RandomSource

_LEAST_RHO, _GREATEST_RHO = 1e-12, 1e4


@dataclass(frozen=True)
class PrivateRelease:
    """The mechanism of one result: every opened sum gets noise, then the sums are released.

    Attributes:
        schema: of the tables.
        pairs: whether sums of pairs of columns are among them.
        epsilon: that is asked for.
        delta: probability of the bound failing.

    Raises:
        UserError: when epsilon or delta is out of range.
    """

    schema: Schema
    pairs: bool
    epsilon: float
    delta: float

    def __post_init__(self) -> None:
        """Check the numbers."""
        if not 0 < self.epsilon < math.inf:
            raise UserError(f"--epsilon {self.epsilon}: choose a positive number, e.g. 1")
        if not 0 < self.delta < 1:
            raise UserError(f"--delta {self.delta}: choose a number between 0 and 1, e.g. 1e-6")

    @property
    def touched(self) -> int:
        """K, how many released sums one row is in at most."""
        plan = TablePlan(self.schema)
        first = [block for block in plan.blocks(self.pairs) if block.left.scope == 0]
        histograms = len({column for column, _ in plan.bins})
        return sum(plan.size(block.left) * plan.size(block.right) for block in first) + histograms

    @cached_property
    def mechanism(self) -> ConcentratedSample:
        """What the ledger is charged with: the greatest rho that costs at most ``epsilon``."""
        distance = WIDE_DISTANCE * self._draws()
        low, high = _LEAST_RHO, _GREATEST_RHO
        for _ in range(60):
            middle = math.sqrt(low * high)
            cost = spent(Loss(rho=middle, distance=distance), self.delta).epsilon
            low, high = (middle, high) if cost <= self.epsilon else (low, middle)
        if low == _LEAST_RHO:
            raise UserError(
                f"--epsilon {self.epsilon}: is too small for delta {self.delta}; raise one of them"
            )
        return ConcentratedSample(low, distance)

    def noise(self, source: RandomSource) -> list[Integers]:
        """Return what is to be added to each block's sums, (left, right), before anybody sees them.

        Raises:
            UserError: when it is wider than can be drawn.
        """
        plan, rho = TablePlan(self.schema), Fraction(self.mechanism.rho)
        return [
            _noise(_sensitivities(plan, block), self.touched / (2 * rho), source)
            for block in plan.blocks(self.pairs)
        ]

    def _draws(self) -> int:
        plan = TablePlan(self.schema)
        return sum(plan.size(block.left) * plan.size(block.right) for block in plan.blocks(self.pairs))


def _sensitivities(plan: TablePlan, block: Block) -> NDArray[np.object_]:
    left, right = (np.array(plan.reaches(each), object) for each in (block.left, block.right))
    return np.asarray(np.multiply.outer(left, right), object)


def _noise(sensitivities: NDArray[np.object_], scale: Fraction, source: RandomSource) -> Integers:
    made = np.empty(sensitivities.shape, np.int64)
    for sensitivity in set(sensitivities.reshape(-1).tolist()):
        places = sensitivities == sensitivity
        sampler = wide_gaussian(sensitivity**2 * scale)
        made[places] = sampler.draw(int(np.count_nonzero(places)), source)
    return made
