"""The server's books: what each round measured, what privacy its clients have spent."""

import itertools
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from flwr.serverapp import Grid

from fedpriv.errors import UserError
from fedpriv.federated.answers import SumRefused
from fedpriv.federated.collect import SUM_REFUSED, Tally
from fedpriv.federated.roster import Member
from fedpriv.federated.strategy.session import Progress
from fedpriv.federated.strategy.unheard import PlanOf, Unheard
from fedpriv.privacy.accounting import Spent
from fedpriv.privacy.client_level import ClientLevel
from fedpriv.privacy.sum_plan import SumPlan
from fedpriv.results import RoundResult
from fedpriv.types import FloatVector, Metrics

log = logging.getLogger("fedpriv")

CLIPPED_WARNING = 1e-3
"""Share of saturated coordinates from which on the log says so."""

COARSE_WARNING = 0.95
"""Share of coordinates within half a step of zero from which on the log says so."""

MOST_REFUSED = 3
"""So many sums in a row that are none end a run."""

Release: TypeAlias = tuple[int, int]
"""A sum that was opened, or may have been: its round, and how many clients it held."""


@dataclass
class Current:
    """The round that is under way."""

    asked: list[tuple[Member, float]]
    parameters: FloatVector
    start: bytes
    grid: Grid
    bytes_down: int
    bytes_keyholders: int = 0
    tally: Tally | None = None
    wait_seconds: float = 0.0
    decrypt_seconds: float = 0.0
    step_seconds: float = 0.0
    clipping_norm: float | None = None
    within_norm: float | None = None


class Books:
    """Every round's figures, and the largest epsilon each client ever reported.

    Attributes:
        history: a :class:`RoundResult` per round, from round 0.
        exhausted: partitions of the clients whose privacy budget allows no further round.
    """

    def __init__(
        self,
        progress: Progress | None = None,
        key_traffic: int = 0,
        choosing: RoundResult | None = None,
        clear_fraction: float = 0.0,
        client_level: ClientLevel | None = None,
        key_seconds: float = 0.0,
        plan_of: PlanOf | None = None,
    ) -> None:
        """Open empty books, or those of an interrupted run.

        Args:
            progress: of the interrupted run.
            key_traffic: the bytes that making the key took; booked with the first round to come.
            choosing: what choosing the coordinates to encrypt took; booked with round 0.
            clear_fraction: share of the coordinates that are not encrypted.
            client_level: accounts for the sums; None goes by what clients say.
            key_seconds: the time that making the key took; booked as ``key_traffic`` is.
            plan_of: bounds what silent clients spend; None goes by what clients say.
        """
        self.history: list[RoundResult] = [] if progress is None else list(progress.history)
        self._releases = releases(self.history, () if progress is None else progress.lost_releases)
        self._client_level = client_level
        self.exhausted: set[int] = set()
        self._spent: dict[int, float] = {} if progress is None else dict(progress.spent)
        self._delta = None if progress is None else progress.delta
        self._by_rdp: set[int] = set() if progress is None else set(progress.by_rdp)
        # an epsilon once stated stays: what may have been spent is not taken back
        self._bound = Spent(0.0, 0.0, "none") if progress is None else stated(progress.history[-1])
        before = {} if progress is None else progress.spent_on
        self._unheard = None if plan_of is None else Unheard(plan_of, before)
        self._said_rdp = False
        self._key_traffic, self._key_seconds = key_traffic, key_seconds
        self._clear_fraction = clear_fraction
        self._choosing = choosing or RoundResult(0, {})

    def may_open(self, clients: int) -> bool:
        """Whether the budget of client-level privacy, if there is one, allows a sum of so many clients.

        That is the sum of the round under way, or of the next one between rounds.
        """
        if self._client_level is None:
            return True
        plan = self._client_level.plan
        return plan.may_release(shared(plan, self._releases, len(self.history)), clients)

    def opening(self, clients: int) -> None:
        """Count the sum of the round under way, of so many clients, before anybody is asked to open it."""
        self._releases.append((len(self.history), clients))

    def account(self, tally: Tally, asked: Sequence[Member]) -> None:
        """Note what the clients of a round spent, or may have: what is spent stays spent."""
        for partition, epsilon in tally.spent.items():
            if epsilon >= self._spent.get(partition, 0.0):
                self._spent[partition] = epsilon
                (self._by_rdp.add if partition in tally.by_rdp else self._by_rdp.discard)(partition)
        self._delta = tally.delta or self._delta
        if self._unheard is not None:
            for bound in self._unheard.round_done(asked, tally.spent, tally.exhausted).values():
                self._bound = max(self._bound, bound, key=lambda spent: spent.epsilon)
                self._delta = self._delta or bound.delta
        self.exhausted |= tally.exhausted
        if tally.by_rdp and not self._said_rdp:
            self._said_rdp = True
            log.warning(
                "epsilon is the looser RDP bound for some client: the PRV accountant could not be used"
            )
        if (clipped := tally.mean("clipped-fraction") or 0.0) > CLIPPED_WARNING:
            log.warning(
                "%.2g %% of all coordinates lay outside secure.value_range and saturated; raise it",
                100 * clipped,
            )
        # later updates may well be small; the first one's size is what secure.value_range is chosen for
        if len(self.history) == 1 and (coarse := tally.mean("coarse-fraction") or 0.0) > COARSE_WARNING:
            log.warning(
                "%.3g %% of all coordinates lie within half a step of zero and drown in the rounding of "
                "updates; lower secure.value_range or raise secure.bits",
                100 * coarse,
            )

    def spent(self, current: Current | None) -> Spent | None:
        """Bound all that has been spent, in a round that was cut off too; None where nobody spent anything.

        Whoever was asked in a round that ended before its replies were counted may have trained.
        """
        if current is not None and current.tally is None:
            current.tally = Tally(asked=len(current.asked))
            self.account(current.tally, [member for member, _ in current.asked])
        epsilon, _, delta, accountant = self._privacy()
        return None if epsilon is None else Spent(epsilon, delta or 0.0, accountant or "none")

    def discard_refused(self, server_round: int, tally: Tally, refused: SumRefused) -> None:
        """Count the updates of a sum that is none.

        Raises:
            UserError: once there were too many such sums in a row.
        """
        if refused_in_a_row(self.history) + 1 >= MOST_REFUSED:
            raise UserError(f"{refused}; {MOST_REFUSED} rounds in a row had no sum to open") from refused
        log.warning(
            "round %d discarded: its %d updates are no sum (%s); a client may have sent garbage: %s",
            server_round,
            tally.replied,
            refused.cause,
            refused,
        )
        tally.discard(SUM_REFUSED)

    def close_round(
        self, number: int, metrics: Metrics, evaluate_seconds: float, current: Current | None
    ) -> RoundResult:
        """Write a round into the history and return it; ``current`` is None for round 0."""
        if current is None or current.tally is None:
            seconds = {**self._choosing.seconds, "evaluate": evaluate_seconds}
            result = replace(self._choosing, number=number, metrics=metrics, seconds=seconds)
        else:
            tally = current.tally
            epsilon, reported, delta, accountant = self._privacy()
            result = RoundResult(
                number=number,
                metrics=metrics,
                train_loss=tally.mean("train-loss"),
                epsilon=epsilon,
                epsilon_reported=reported,
                delta=delta,
                accountant=accountant,
                bytes_up=tally.bytes_up,
                bytes_down=current.bytes_down,
                bytes_keyholders=current.bytes_keyholders + self._key_traffic,
                bytes_keys=self._key_traffic,
                update_bytes=int(np.median(tally.update_bytes)) if tally.update_bytes else 0,
                seconds={
                    "train": current.wait_seconds,
                    "encrypt": tally.mean("encrypt-seconds") or 0.0,
                    "aggregate": tally.aggregate_seconds + current.step_seconds,
                    "decrypt": current.decrypt_seconds,
                    "evaluate": evaluate_seconds,
                    **({"keys": self._key_seconds} if self._key_seconds else {}),
                },
                local_seconds=tally.total("train-seconds"),
                asked=tally.asked,
                replied=tally.replied,
                failures={cause: count for cause, count in tally.failures.items() if count},
                clipped_fraction=tally.mean("clipped-fraction") or 0.0,
                coarse_fraction=tally.mean("coarse-fraction") or 0.0,
                clipping_norm=current.clipping_norm,
                within_norm=current.within_norm,
                clear_fraction=self._clear_fraction,
            )
            self._key_traffic, self._key_seconds = 0, 0.0
        self.history.append(result)
        return result

    def _privacy(self) -> tuple[float | None, float | None, float | None, str | None]:
        """Return epsilon, the largest reported, the delta of both, epsilon's accountant."""
        if self._client_level is not None:
            spent = spent_most(self._client_level.plan, self._releases)
            return spent.epsilon, None, spent.delta, spent.accountant
        most = max(self._spent, key=self._spent.__getitem__, default=None)
        reported = None if most is None else self._spent[most]
        if self._bound.epsilon <= (reported or 0.0):
            accountant = None if most is None else "rdp" if most in self._by_rdp else "prv"
            return reported, reported, self._delta, "none" if reported == math.inf else accountant
        return self._bound.epsilon, reported, self._delta, self._bound.accountant


def stated(last: RoundResult) -> Spent:
    """Return what a round stated to be spent; nothing where it stated nothing."""
    return Spent(last.epsilon or 0.0, last.delta or 0.0, last.accountant or "none")


def releases(history: Sequence[RoundResult], lost: Sequence[Release]) -> list[Release]:
    """Return each opened sum, those in ``lost`` among them.

    A sum that was refused counts as opened: the server, or some of the key holders, may have seen it.
    """
    counts = [(each.number, each.replied or each.failures.get(SUM_REFUSED, 0)) for each in history]
    return [(number, count) for number, count in counts if number and count] + list(lost)


def shared(plan: SumPlan, opened: Sequence[Release], number: int) -> list[int]:
    """Return how many clients each sum held that a client of round ``number`` was in, or may have been.

    Clients that take turns are in every ``plan.separation``-th round.
    """
    return [count for other, count in opened if (other - number) % plan.separation == 0]


def spent_most(plan: SumPlan, opened: Sequence[Release]) -> Spent:
    """Bound what the sums have cost the clients that they cost most."""
    turns = {tuple(shared(plan, opened, number)) for number in range(plan.separation)}
    return max((plan.spent(counts) for counts in turns), key=lambda spent: spent.epsilon)


def refused_in_a_row(history: Sequence[RoundResult]) -> int:
    """Return how many of the last rounds ended with a sum that was refused."""
    last = itertools.takewhile(lambda result: SUM_REFUSED in result.failures, reversed(history))
    return len(list(last))
