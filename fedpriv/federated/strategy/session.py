"""What a strategy is told of one run: who takes part, how sums are opened, where to go on."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from fedpriv.federated.listening import Listener
from fedpriv.federated.roster import Roster
from fedpriv.federated.strategy.unheard import PlanOf
from fedpriv.he.codec import UpdateCodec
from fedpriv.he.identity import Enrolment
from fedpriv.privacy.accounting import History
from fedpriv.privacy.client_level import ClientLevel
from fedpriv.privacy.listening import Heard
from fedpriv.privacy.sum_plan import update_length
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
        selection: see :class:`Session`.
        lost_releases: see :class:`fedpriv.snapshot.Kept`.
        spent_on: the mechanisms that ``spent`` is the epsilon of, by partition.
        heard: of an audit's canaries; None without.
        by_rdp: partitions of the clients whose ``spent`` is the RDP bound.
    """

    history: tuple[RoundResult, ...]
    parameters: FloatVector
    strategy: Mapping[str, AnyArray] = field(default_factory=dict)
    spent: Mapping[int, float] = field(default_factory=dict)
    delta: float | None = None
    selection: bytes | None = None
    lost_releases: tuple[tuple[int, int], ...] = ()
    spent_on: Mapping[int, History] = field(default_factory=dict)
    heard: Heard | None = None
    by_rdp: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Session:
    """What a strategy needs to know of one run.

    Attributes:
        run_id: 32 hexadecimal digits, fresh for every process that serves a run.
        run_digest: 32 bytes, of the run's configuration; clients sign theirs with every update.
        seed: the run's seed; determines the cohorts.
        roster: who takes part.
        enrolment: everybody's public key.
        layout: the model's parameters.
        codec: aggregates sealed updates; holds no secret key.
        cohort: clients asked per round; None for all.
        min_replies: a round with fewer updates is discarded.
        holder_timeout_s: seconds that a key holder has for its answer.
        public_key: a committee's joint key, which every client is sent; None where there is none.
        key_traffic: bytes to and from the key holders that making it took.
        key_seconds: the seconds that it took.
        selection: the coordinates that clients encrypt, packed, where the server has chosen them
            (:mod:`fedpriv.federated.choosing`); every client and key holder is sent them.
        choosing: what that took, as figures of round 0.
        observers: who hears of progress.
        progress: where to go on; None starts with round 0.
        client_level: how sums are made noisy and accounted; None without client-level privacy.
        plan_of: what clients of so many examples spend with sample-level privacy; None without.
        listener: hears an audit's canaries; None without.
        turns: groups of clients that are asked one after the other, over and over; None draws cohorts at
            random.
    """

    run_id: str
    run_digest: bytes
    seed: int
    roster: Roster
    enrolment: Enrolment
    layout: ParameterLayout
    codec: UpdateCodec
    cohort: int | None
    min_replies: int
    holder_timeout_s: float
    public_key: bytes | None = None
    key_traffic: int = 0
    key_seconds: float = 0.0
    selection: bytes | None = None
    choosing: RoundResult | None = None
    observers: tuple[RunObserver, ...] = ()
    progress: Progress | None = None
    client_level: ClientLevel | None = None
    plan_of: PlanOf | None = None
    listener: Listener | None = None
    turns: int | None = None

    @property
    def update_length(self) -> int:
        """Coordinates of an update as it is sent."""
        plan = None if self.client_level is None else self.client_level.plan
        return update_length(self.layout.size, plan)
