"""What clients and server of a run with client-level privacy share: one plan, and where noise comes from."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fedpriv.privacy.adaptive_clipping import AdaptiveClipping
from fedpriv.privacy.noise import FastSource, RandomSource, SecureSource
from fedpriv.privacy.sum_plan import SumPlan
from fedpriv.types import FloatVector


@dataclass(frozen=True)
class ClientLevel:
    """Client-level privacy of a run.

    Attributes:
        plan: sensitivity, noise and accounting of its sums.
        seed: of reproducible noise, which protects nobody; None draws it from the operating system's.
        adaptive: how the clipping norm moves; None leaves it where it is.
    """

    plan: SumPlan
    seed: int | None = None
    adaptive: AdaptiveClipping | None = None

    def source(self, *purpose: str | int) -> RandomSource:
        """Return a fresh source of noise; with a seed, the same for the same purpose."""
        return SecureSource() if self.seed is None else FastSource(self.seed, "sum-noise", *purpose)


class ServerNoise:
    """Where the noise of one round after the other comes from, where the server draws it.

    Edge cases:
        - Without client-level privacy there is none.
        - Of noise that is correlated over rounds the rows before are kept here, in memory alone: a process
          that goes on with a run begins anew (:class:`fedpriv.privacy.matrix_noise.NoiseMemory`).
    """

    def __init__(self, level: ClientLevel | None) -> None:
        """Begin before the first round."""
        self._level = level
        self._memory = None if level is None else level.plan.memory()

    def source(self, number: int) -> RandomSource | None:
        """Return the source of the noise of round ``number``."""
        if self._level is None or self._memory is None:
            return None
        return self._memory.source(number, self._level.source("server", number))


def clip(update: FloatVector, norm: float) -> FloatVector:
    """Return update * min(1, norm / ||update||_2).

    Guarantee:
        The result's norm exceeds ``norm`` by at most what rounding to float32 adds, a factor of
        1 + 2^-23. The sensitivity of a sum does not rest on that: clients bound the norm of the
        integers they send exactly (:func:`fedpriv.he.packing.quantise`).

    Edge cases:
        NaN or infinity anywhere: returned as it is, for the codec refuses it.

    Args:
        update: (P,) float32; already weighted.
        norm: C > 0.
    """
    # a sum in a fixed order, unlike that of a threaded library: the same bits on every machine
    length = math.sqrt(float(np.sum(np.square(update, dtype=np.float64))))
    if not math.isfinite(length) or length <= norm:
        return update
    return (update * np.float64(norm / length)).astype(np.float32)


def cost_of_lost_release(plan: SumPlan, counts: Sequence[int], most: int) -> int | None:
    """Return the count to charge for the round that was under way when a run was cut off.

    Nobody knows whether its sum was opened, and of how many clients. So it is charged as the dearest
    release that the plan would have let pass.

    Guarantee:
        - What it cost, if there was one, is at most what a release of that count costs.
        - A charge never passes the target.

    Args:
        plan: of the run.
        counts: of all releases before it that its clients were in.
        most: clients that could have been in it.

    Returns:
        A number of noisy contributions, or None: no release was possible.
    """
    # the loss of a round never rises with the number of contributions
    possible = range(plan.contributors, max(plan.contributors, most) + 1)
    return next((count for count in possible if plan.may_release(counts, count)), None)
