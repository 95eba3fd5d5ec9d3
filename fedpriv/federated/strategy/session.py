"""What a strategy is told of one run: who takes part, how sums are opened, where to go on."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from fedpriv.federated.release import SumOpener
from fedpriv.federated.roster import Roster
from fedpriv.he.codec import UpdateCodec
from fedpriv.results import RoundResult
from fedpriv.training.parameters import ParameterLayout
from fedpriv.types import AnyArray, FloatVector


class RunObserver(Protocol):
    """Hears of a run's progress: consoles, trackers, checkpoints."""

    def client_done(self, done: int, asked: int) -> None:
        """``done`` of the ``asked`` clients of this round have answered."""

    def round_done(self, result: RoundResult, parameters: FloatVector) -> None:
        """A round is over; ``parameters`` is the global model after it."""


@dataclass(frozen=True)
class Progress:
    """How far an interrupted run came.

    Attributes:
        history: every finished round, from round 0.
        parameters: the global model after the last of them.
        strategy: what :meth:`Strategy.state` returned then.
        spent: epsilon that each client has spent, by partition.
        delta: what it is stated at.
    """

    history: tuple[RoundResult, ...]
    parameters: FloatVector
    strategy: Mapping[str, AnyArray] = field(default_factory=dict)
    spent: Mapping[int, float] = field(default_factory=dict)
    delta: float | None = None


@dataclass(frozen=True)
class Session:
    """What a strategy needs to know of one run.

    Attributes:
        run_id: 32 hexadecimal digits.
        seed: the run's seed; determines the cohorts.
        roster: who takes part.
        layout: the model's parameters.
        codec: aggregates sealed updates; holds no key.
        open_sum: opens the sum of a round.
        cohort: clients asked per round; None for all.
        min_replies: a round with fewer updates is discarded.
        max_update_bytes: larger replies are refused unread.
        observers: who hears of progress.
        progress: where to go on; None starts with round 0.
    """

    run_id: str
    seed: int
    roster: Roster
    layout: ParameterLayout
    codec: UpdateCodec
    open_sum: SumOpener
    cohort: int | None
    min_replies: int
    max_update_bytes: int
    observers: tuple[RunObserver, ...] = ()
    progress: Progress | None = None
