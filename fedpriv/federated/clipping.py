"""The clipping norm of a run with client-level privacy: told to the clients, applied by them, moved by sums.

The server says the norm of a round as a setting, so that it is in what every client signs
(:mod:`fedpriv.federated.start`): clients of one sum have one norm. Privacy does not rest on its choice.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from fedpriv.errors import UserError
from fedpriv.federated.messages import MessageError
from fedpriv.privacy.adaptive_clipping import clip_with_vote, read_sum
from fedpriv.privacy.canaries import Canaries, SparseUpdate
from fedpriv.privacy.client_level import ClientLevel, clip
from fedpriv.results import RoundResult
from fedpriv.types import FloatVector

SETTING = "clipping-norm"


def clipper(level: ClientLevel | None, settings: Mapping[str, float]) -> Callable[[FloatVector], FloatVector]:
    """Return what makes of a client's weighted update, (P,), what it sends.

    That is the update clipped, with its vote behind it where the norm adapts; the update itself without
    client-level privacy.

    Guarantee:
        - The server's word moves a norm that adapts, within its bounds, and no other.

    Edge cases:
        - A norm that is no number, or none at all, is refused where one is needed.

    Raises:
        MessageError: ``malformed`` when the norm adapts and the server names none, or one out of its bounds.
    """
    if level is None:
        return lambda update: update
    plan = level.plan
    if level.adaptive is None:
        return lambda update: clip(update, plan.clipping_norm)
    norm = settings.get(SETTING, 0.0)
    if not level.adaptive.holds(norm):
        raise MessageError("malformed")
    return lambda update: clip_with_vote(update, norm, plan)


def clipped_canaries(level: ClientLevel, canaries: Canaries) -> list[SparseUpdate]:
    """Return the updates of the canary clients that are in, each clipped by itself as any client's is.

    Where the norm adapts they are, as all updates, in units of C_t / C_0, and carry no vote.
    """
    norm = level.plan.clipping_norm
    return [SparseUpdate(places, clip(values, norm)) for places, values in canaries.updates(norm)]


class RunNorm:
    """The server's side.

    Guarantee:
        - A run that goes on has the norm that its next round would have had.

    Edge cases:
        - A round whose sum was not opened leaves the norm where it was.

    Attributes:
        norm: of the round under way, units of coordinates; None where it does not adapt.
    """

    def __init__(self, level: ClientLevel | None, history: Sequence[RoundResult] = ()) -> None:
        """Begin, or go on after the rounds of ``history``.

        Raises:
            UserError: when the last of them had no such norm, or none that it could have.
        """
        self._level = level
        self.norm: float | None = None
        if level is None or level.adaptive is None:
            return
        self.norm = level.adaptive.start
        if len(history) > 1:
            last, fraction = history[-1].clipping_norm, history[-1].within_norm
            if last is None or not level.adaptive.holds(last):
                raise UserError(
                    f"checkpoint: clipping norm {last} of round {history[-1].number}; it is damaged, run the "
                    "experiment again"
                )
            self.norm = last if fraction is None else level.adaptive.next(last, fraction)

    def settings(self) -> dict[str, float]:
        """Return what clients are told of the norm; nothing where it does not adapt."""
        return {} if self.norm is None else {SETTING: self.norm}

    def opened(self, total: NDArray[np.float64], count: int) -> tuple[NDArray[np.float64], float | None]:
        """Take the sum of ``count`` updates apart, and move the norm.

        Returns:
            The sum of the clipped updates, (P,), and the noisy fraction of those that were within the norm;
            the sum as it is, and None, where the norm does not adapt.
        """
        level = self._level
        if level is None or level.adaptive is None or self.norm is None:
            return total, None
        updates, within = read_sum(total, self.norm, level.plan, count)
        self.norm = level.adaptive.next(self.norm, within)
        return updates, within
