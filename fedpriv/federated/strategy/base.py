"""The strategy base: Flower's interface, with every failure counted and every reply checked."""

import logging
import time
from abc import abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Result
from flwr.serverapp.strategy import Strategy as FlowerStrategy

from fedpriv.errors import UserError
from fedpriv.federated import messages
from fedpriv.federated.collect import Collector, Tally
from fedpriv.federated.messages import TrainRequest
from fedpriv.federated.release import SumOpener
from fedpriv.federated.roster import Member, Roster
from fedpriv.he.codec import UpdateCodec
from fedpriv.results import RoundResult
from fedpriv.seeding import generator
from fedpriv.training.parameters import ParameterLayout
from fedpriv.types import FloatVector

log = logging.getLogger("fedpriv")

CLIPPED_WARNING = 1e-3
"""Share of saturated coordinates from which on the log says so."""

EvaluateFn = Callable[[int, ArrayRecord], MetricRecord | None]


class RunObserver(Protocol):
    """Hears of a run's progress: consoles, trackers, checkpoints."""

    def client_done(self, done: int, asked: int) -> None:
        """``done`` of the ``asked`` clients of this round have answered."""

    def round_done(self, result: RoundResult, parameters: FloatVector) -> None:
        """A round is over; ``parameters`` is the global model after it."""


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


@dataclass
class _Round:
    asked: list[tuple[Member, float]]
    parameters: FloatVector
    grid: Grid
    bytes_down: int
    tally: Tally | None = None
    wait_seconds: float = 0.0
    decrypt_seconds: float = 0.0
    step_seconds: float = 0.0


class Strategy(FlowerStrategy):
    """Base of all strategies.

    A round asks a seeded cohort, sums the sealed updates w_i (x_i - x) that pass every check,
    opens the sum, divides by the sum of the weights of those that came, and hands the mean to
    :meth:`server_step`. Subclasses say what the server does with that mean and, if need be,
    what clients are told (:meth:`client_settings`).

    Guarantee:
        - A failed, late or malformed client costs the round its own update and nothing else,
          and is counted by cause.
        - A round with fewer than ``min_replies`` updates leaves the model unchanged.
        - The model stays float32 and finite.

    Edge cases:
        - No update at all in a round ends the run with a :class:`UserError` that names the causes.
    """

    def __init__(self) -> None:
        """Start without a session; :meth:`bind` gives one."""
        self.history: list[RoundResult] = []
        self._spent: dict[int, float] = {}
        self._delta: float | None = None
        self._said_rdp = False
        self._session: Session | None = None
        self._current: _Round | None = None

    @abstractmethod
    def server_step(self, parameters: FloatVector, mean_update: np.ndarray) -> np.ndarray:
        """Return the next global model.

        Args:
            parameters: the global model x, float32 (P,).
            mean_update: sum_i w_i (x_i - x) / sum_i w_i, float64 (P,).
        """

    def client_settings(self) -> dict[str, float]:
        """Return what every client is told besides the model; nothing by default."""
        return {}

    def bind(self, session: Session) -> None:
        """Give the strategy its run."""
        self._session = session

    @property
    def session(self) -> Session:
        """The run this strategy serves."""
        if self._session is None:
            raise RuntimeError("strategy is not bound to a session")
        return self._session

    def summary(self) -> None:
        """Log what will happen."""
        session = self.session
        log.info(
            "%s: %d clients, cohort %s, %d parameters, updates as %s",
            type(self).__name__,
            len(session.roster.clients),
            session.cohort or "all",
            session.layout.size,
            session.codec.scheme,
        )

    def cohort(self, server_round: int) -> list[Member]:
        """Return the clients of a round: drawn without replacement, by seed and round alone."""
        session, members = self.session, list(self.session.roster.clients)
        if session.cohort is None or session.cohort >= len(members):
            return members
        drawn = generator(session.seed, "cohort", server_round).permutation(len(members))
        return [members[index] for index in sorted(drawn[: session.cohort])]

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Address the cohort; all messages share one copy of the model."""
        session = self.session
        asked = [(member, session.roster.weight(member)) for member in self.cohort(server_round)]
        parameters = messages.unpack_parameters(arrays)
        self._current = _Round(asked, parameters, grid, bytes_down=parameters.nbytes * len(asked))
        given = {key: value for key, value in config.items() if isinstance(value, int | float)}
        settings = {**given, **self.client_settings()}
        return [
            Message(
                TrainRequest(session.run_id, server_round, weight, settings, parameters).to_content(arrays),
                member.node_id,
                messages.TRAIN,
                group_id=str(server_round),
            )
            for member, weight in asked
        ]

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Check, add, open and apply; replies are taken one by one as they come.

        Raises:
            UserError: when no reply at all could be used.
        """
        session, current = self.session, self._current
        if current is None:
            raise RuntimeError("aggregate_train without configure_train")
        collector = Collector(
            session.run_id,
            server_round,
            current.asked,
            session.codec,
            session.layout,
            session.max_update_bytes,
        )
        order = {member.node_id: index for index, (member, _) in enumerate(current.asked)}
        if isinstance(replies, list):
            # a sum of floats depends on its order: take the cohort's, not that of arrival
            replies = sorted(replies, key=lambda reply: order.get(reply.metadata.src_node_id, len(order)))
        stream, done = iter(replies), 0
        while True:
            started = time.perf_counter()
            reply = next(stream, None)
            current.wait_seconds += time.perf_counter() - started
            if reply is None:
                break
            collector.take(reply)
            done += 1
            for observer in session.observers:
                observer.client_done(done, len(current.asked))
        tally = current.tally = collector.close()
        self._account(tally)
        if tally.replied == 0:
            raise UserError(
                f"round {server_round}: none of the {tally.asked} clients sent a usable update "
                f"({_causes(tally)}); see the clients' logs"
            )
        if tally.replied < session.min_replies:
            log.warning(
                "round %d discarded: %d of %d updates, federation.min_replies=%d (%s)",
                server_round,
                tally.replied,
                tally.asked,
                session.min_replies,
                _causes(tally),
            )
            tally.failures["round_discarded"] = tally.replied
            tally.replied = 0
            return None, None
        started = time.perf_counter()
        total = session.open_sum(current.grid, server_round, collector.aggregator.result(), tally.replied)
        opened = time.perf_counter()
        current.decrypt_seconds = opened - started
        stepped = self.server_step(current.parameters, total / tally.weight).astype(np.float32)
        if not np.isfinite(stepped).all():
            raise UserError(
                f"round {server_round}: the global model is not finite; lower training.learning_rate"
            )
        current.step_seconds = time.perf_counter() - opened
        metrics = MetricRecord({"clients": tally.replied})
        if (loss := tally.mean("train-loss")) is not None:
            metrics["train-loss"] = loss
        return messages.pack_parameters(stepped), metrics

    def _account(self, tally: Tally) -> None:
        """Keep the largest epsilon each client ever reported: what is spent stays spent."""
        for partition, epsilon in tally.spent.items():
            self._spent[partition] = max(epsilon, self._spent.get(partition, 0.0))
        self._delta = tally.delta or self._delta
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

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Ask nobody: the model is judged by the server, on people whom no client holds."""
        return []

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        """Return None, see :meth:`configure_evaluate`."""
        return None

    def start(
        self,
        grid: Grid,
        initial_arrays: ArrayRecord,
        num_rounds: int = 3,
        timeout: float = 3600,
        train_config: ConfigRecord | None = None,
        evaluate_config: ConfigRecord | None = None,
        evaluate_fn: EvaluateFn | None = None,
    ) -> Result:
        """Run all rounds; ``self.history`` holds a :class:`RoundResult` for each, from round 0.

        Args:
            grid: Flower's connection to the nodes.
            initial_arrays: the initial model, see ``messages.pack_parameters``.
            num_rounds: rounds to run.
            timeout: seconds that a client has for its reply.
            train_config: sent to every client besides :meth:`client_settings`.
            evaluate_config: unused, see :meth:`configure_evaluate`.
            evaluate_fn: measures the global model after each round (and before the first).

        Raises:
            UserError: when a round gets no usable update at all.
        """
        del evaluate_config
        self.summary()
        result, arrays = Result(), initial_arrays
        result.arrays = arrays
        self.history, self._spent, self._delta = [], {}, None
        self._report(0, arrays, evaluate_fn, result, None)
        for server_round in range(1, num_rounds + 1):
            requests = self.configure_train(server_round, arrays, train_config or ConfigRecord(), grid)
            sent = time.perf_counter()
            replies = grid.send_and_receive(requests, timeout=timeout)
            if self._current is not None:
                self._current.wait_seconds = time.perf_counter() - sent
            updated, metrics = self.aggregate_train(server_round, replies)
            arrays = result.arrays = updated or arrays
            if metrics is not None:
                result.train_metrics_clientapp[server_round] = metrics
            self._report(server_round, arrays, evaluate_fn, result, self._current)
        return result

    def _report(
        self,
        server_round: int,
        arrays: ArrayRecord,
        evaluate_fn: EvaluateFn | None,
        result: Result,
        current: _Round | None,
    ) -> None:
        started = time.perf_counter()
        measured = evaluate_fn(server_round, arrays) if evaluate_fn else None
        evaluate_seconds = time.perf_counter() - started
        metrics: dict[str, float] = {}
        if measured is not None:
            result.evaluate_metrics_serverapp[server_round] = measured
            metrics = {key: float(value) for key, value in measured.items() if isinstance(value, int | float)}
        if current is None or current.tally is None:
            report = RoundResult(server_round, metrics, seconds={"evaluate": evaluate_seconds})
        else:
            tally = current.tally
            report = RoundResult(
                number=server_round,
                metrics=metrics,
                train_loss=tally.mean("train-loss"),
                epsilon=max(self._spent.values(), default=None),
                delta=self._delta,
                bytes_up=tally.bytes_up,
                bytes_down=current.bytes_down,
                update_bytes=int(np.median(tally.update_bytes)) if tally.update_bytes else 0,
                seconds={
                    "train": current.wait_seconds,
                    "encrypt": tally.mean("encrypt-seconds") or 0.0,
                    "aggregate": tally.aggregate_seconds + current.step_seconds,
                    "decrypt": current.decrypt_seconds,
                    "evaluate": evaluate_seconds,
                },
                local_seconds=tally.total("train-seconds"),
                asked=tally.asked,
                replied=tally.replied,
                failures={cause: count for cause, count in tally.failures.items() if count},
                clipped_fraction=tally.mean("clipped-fraction") or 0.0,
            )
        self.history.append(report)
        vector = messages.unpack_parameters(arrays)
        for observer in self.session.observers:
            observer.round_done(report, vector)


def _causes(tally: Tally) -> str:
    return (
        ", ".join(f"{cause} x{count}" for cause, count in sorted(tally.failures.items())) or "no cause given"
    )
