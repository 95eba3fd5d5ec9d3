"""Noise of a run's rounds, correlated by a banded matrix and exact: in integers, row by row.

Row t, in units of 1/q of a step (q a power of two, the plan's ``refinement``), is

    W_t = z_t - round(sum_{j=1}^{bands-1} c_j W_{t-j}),        z_t discrete Gaussian,

and what is added to the round's sum of integers S_t is round(W_t / q), in steps.

Why that is private. Take q S_t + W_t for what is released: rounding it to steps gives S_t + round(W_t / q),
and hides more. Given all earlier releases, q S_t + W_t is an integer that the data determine, plus z_t: with
or without a client it differs by u_t, q times the client's integers where it takes part, and

    u_t = round(a + c_j q d) - round(a),        |u_t - c_j q d| < 1 where d is not 0, else u_t = 0,

j rounds after it took part with integers d, for at most one participation lies within ``bands`` rounds. So
round t is a discrete Gaussian of concentrated loss ||u_t||^2 / (2 sigma^2) (Canonne, Kamath, Steinke 2020,
arXiv 2004.00010), and the losses of the rounds that one participation reaches add up to at most the square of
:meth:`~fedpriv.privacy.matrix_mechanism.BandedToeplitz.spread` over 2 sigma^2, whatever was chosen after
earlier releases: their sum is bounded always, which is what composition with losses chosen on the way asks
for (Feldman and Zrnic 2021, arXiv 2008.11193, Theorem 3.1; with Gaussian noise, Denisov et al. 2022, arXiv
2202.08312).
No floating-point number touches a row.
"""

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fedpriv.privacy.matrix_mechanism import BITS, BandedToeplitz
from fedpriv.privacy.noise import RandomSource

_HALF = 1 << (BITS - 1)


@dataclass
class NoiseMemory:
    """The rows that the noise of rounds to come takes back: a secret of who draws it.

    Guarantee:
        - No round's row is drawn twice.
        - Of all rows the last ``bands - 1`` rounds' are kept, 4 bytes a coordinate, and nothing else.
        - Whatever rounds are left out, no row is larger than ``growth`` times the largest z and half a unit.

    Edge cases:
        - A round whose row was never drawn, because nothing was released, has a row of zeros.
        - Where a row after such rounds could be larger, those before it are forgotten, as by a new process.
        - A run that goes on in another process begins with an empty memory: its rows have nothing to do with
          those before. What those left to be corrected stays uncorrected, and no row is ever on disk.

    Attributes:
        matrix: C.
        refinement: q.
        length: d, coordinates of a row.
        growth: how much larger than z a row may be.
    """

    matrix: BandedToeplitz
    refinement: int
    length: int
    growth: float = math.inf
    _rows: dict[int, NDArray[np.int32]] = field(default_factory=dict, repr=False)
    _made_of: dict[int, NDArray[np.float64]] = field(default_factory=dict, repr=False)

    def source(self, number: int, fresh: RandomSource) -> RandomSource:
        """Return where the noise of round ``number`` comes from: ``fresh`` itself where there is one band.

        Args:
            number: of the round; rounds come in order, and some may be left out.
            fresh: of z.
        """
        return fresh if self.matrix.bands == 1 else NoiseRow(self, number, fresh)

    def begin(self, number: int) -> tuple[NDArray[np.int32], list[tuple[int, NDArray[np.int32]]]]:
        """Make room for the row of a round.

        Returns:
            The row, to be filled, and c_j 2^BITS beside each earlier row that there is.

        Raises:
            ValueError: when this round's row, or a later one's, was begun before.
        """
        if self._rows and max(self._rows) >= number:
            raise ValueError(f"round {number}: its noise was drawn before")
        reach = range(number - self.matrix.bands + 1, number)
        self._rows = {earlier: row for earlier, row in self._rows.items() if earlier in reach}
        self._follow(number)
        found = [(self.matrix.numerators[number - earlier], row) for earlier, row in self._rows.items()]
        self._rows[number] = np.zeros(self.length, np.int32)
        return self._rows[number], found

    def _follow(self, number: int) -> None:
        """Write down what a round's row is made of: so much of each z, the row's own last."""
        made = np.zeros(1 + max((len(self._made_of[earlier]) for earlier in self._rows), default=0))
        for earlier in self._rows:
            before = self._made_of[earlier]
            made[: len(before)] -= self.matrix.numerators[number - earlier] / (1 << BITS) * before
        made[-1] = 1.0
        # beyond what sums of floating-point numbers are off by
        if np.abs(made).sum() > self.growth * (1.0 + 1e-10):
            self._rows, made = {}, np.ones(1)
        self._made_of = {earlier: self._made_of[earlier] for earlier in self._rows} | {number: made}


class NoiseRow(RandomSource):
    """The randomness of one round's noise, and what earlier rounds leave for it to take back."""

    def __init__(self, memory: NoiseMemory, number: int, fresh: RandomSource) -> None:
        """Stand for a round; its row begins with the first coordinate that is drawn."""
        self.name = fresh.name
        self._memory, self._number, self._fresh = memory, number, fresh
        self._row: NDArray[np.int32] | None = None
        self._earlier: list[tuple[int, NDArray[np.int32]]] = []
        self._drawn = 0

    def uniform(self, count: int) -> NDArray[np.float64]:
        """See :class:`RandomSource`."""
        return self._fresh.uniform(count)

    def normal(self, count: int) -> NDArray[np.float64]:
        """See :class:`RandomSource`."""
        return self._fresh.normal(count)

    def words(self, count: int) -> NDArray[np.uint64]:
        """See :class:`RandomSource`."""
        return self._fresh.words(count)

    def correlated(self, drawn: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the noise of the next coordinates, in steps.

        Args:
            drawn: z of these coordinates, in units of 1/q of a step; (n,).

        Raises:
            ValueError: when the row is full, or was drawn before.
        """
        if self._row is None:
            self._row, self._earlier = self._memory.begin(self._number)
        place = slice(self._drawn, self._drawn + len(drawn))
        if place.stop > len(self._row):
            raise ValueError(f"noise: a row has {len(self._row)} coordinates, {place.stop} were asked for")
        back = np.zeros(len(drawn), np.int64)
        for numerator, row in self._earlier:
            back += numerator * row[place].astype(np.int64)
        # shifts and whole divisions round down, also below zero
        made = drawn - ((back + _HALF) >> BITS)
        self._row[place] = made
        self._drawn = place.stop
        refinement = self._memory.refinement
        return (made + refinement // 2) // refinement
