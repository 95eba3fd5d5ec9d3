"""The strategy base: Flower's interface, with every failure counted and every reply checked."""

import logging
import time
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Result
from flwr.serverapp.strategy import Strategy as FlowerStrategy

from fedpriv.errors import UserError
from fedpriv.federated import messages
from fedpriv.federated.answers import SumRefused
from fedpriv.federated.collect import DISCARDED, SUM_REFUSED, Collector, Tally
from fedpriv.federated.messages import TrainRequest
from fedpriv.federated.release import open_sum
from fedpriv.federated.roster import Member
from fedpriv.federated.start import start_digest
from fedpriv.federated.strategy.books import Books, Current, refused_in_a_row
from fedpriv.federated.strategy.session import Progress, Session
from fedpriv.he.selective import clear_fraction
from fedpriv.results import RoundResult
from fedpriv.seeding import generator
from fedpriv.types import AnyArray, FloatVector

log = logging.getLogger("fedpriv")

MOST_REFUSED = 3
"""So many sums in a row that are none end a run."""

EvaluateFn = Callable[[int, ArrayRecord], MetricRecord | None]


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
        - So does one whose sum turns out to be none. A client that signs garbage which has the right
          form costs the round all its updates, as nobody can tell whose it was, and not the run.
        - With client-level privacy no sum is opened that would pass the target, or that lacks noise.
        - The model stays float32 and finite.

    Edge cases:
        - No update at all in a round ends the run with a :class:`UserError` that names the causes.
        - Unless a spent privacy budget is among them: such a round leaves the model unchanged, and
          once every client's budget is spent the run ends with the model so far.
        - So it does with client-level privacy, once not even a sum of all that are asked would do.
          There a sum that was refused is charged as one that was opened.
        - Three sums in a row that are none end the run with a :class:`UserError`, as does a key holder
          that is silent, or refuses on any other grounds.
    """

    def __init__(self) -> None:
        """Start without a session; :meth:`bind` gives one."""
        self._books = Books()
        self._session: Session | None = None
        self._key: ArrayRecord | None = None
        self._chosen: ArrayRecord | None = None
        self._current: Current | None = None

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

    def state(self) -> dict[str, AnyArray]:
        """Return what the strategy itself carries from round to round; nothing by default."""
        return {}

    def restore(self, state: Mapping[str, AnyArray]) -> None:
        """Take back what :meth:`state` returned.

        Raises:
            ValueError: when it is not such a state.
        """
        if state:
            raise ValueError(f"{type(self).__name__} keeps no {', '.join(sorted(state))}")

    def bind(self, session: Session) -> None:
        """Give the strategy its run, at its beginning or where it was interrupted.

        Raises:
            ValueError: see :meth:`restore`.
        """
        self._session = session
        self._key = None if session.public_key is None else messages.pack_public_key(session.public_key)
        self._chosen = None if session.selection is None else messages.pack_chosen(session.selection)
        self._books = self._open_books(session.progress)
        if session.progress is not None:
            self.restore(session.progress.strategy)

    def _open_books(self, progress: Progress | None) -> Books:
        session = self.session
        return Books(
            progress,
            session.key_traffic,
            session.choosing,
            clear_fraction(session.codec),
            session.client_level,
        )

    @property
    def history(self) -> list[RoundResult]:
        """Every round so far, from round 0."""
        return self._books.history

    @property
    def exhausted(self) -> bool:
        """Whether no privacy budget allows another round."""
        session = self.session
        if session.client_level is not None:
            clients = len(session.roster.clients)
            most = min(clients, session.cohort or clients)
            return not session.client_level.plan.may_release(self._books.releases, most)
        everybody = {member.partition for member in self.session.roster.clients}
        return bool(everybody) and everybody <= self._books.exhausted

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
        """Address the cohort; all messages share one copy of the model and of the public key."""
        session = self.session
        asked = [(member, session.roster.weight(member)) for member in self.cohort(server_round)]
        parameters, key = messages.unpack_parameters(arrays), self._key
        size = parameters.nbytes + len(session.public_key or b"") + len(session.selection or b"")
        given = {key: value for key, value in config.items() if isinstance(value, int | float)}
        settings = {**given, **self.client_settings()}
        start = start_digest(parameters, settings)
        self._current = Current(asked, parameters, start, grid, bytes_down=size * len(asked))
        return [
            Message(
                TrainRequest(session.run_id, server_round, weight, settings, parameters).to_content(
                    arrays, key, self._chosen
                ),
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
            UserError: when no reply at all could be used, a key holder fails, or sums are refused again
                and again.
        """
        session, current = self.session, self._current
        if current is None:
            raise RuntimeError("aggregate_train without configure_train")
        collector = Collector(session, server_round, current.asked, current.start)
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
        self._books.account(tally)
        if tally.replied == 0 and not tally.exhausted:
            raise UserError(
                f"round {server_round}: none of the {tally.asked} clients sent a usable update "
                f"({_causes(tally)}); see the clients' logs"
            )
        level = session.client_level
        why = ""
        if tally.replied < session.min_replies:
            why = f"federation.min_replies={session.min_replies}"
        elif level is not None and not level.plan.may_release(self._books.releases, tally.replied):
            why = "their sum is not within the privacy budget"
        if why:
            log.warning(
                "round %d discarded: %d of %d updates, %s (%s)",
                server_round,
                tally.replied,
                tally.asked,
                why,
                _causes(tally),
            )
            tally.failures[DISCARDED] = tally.replied
            tally.replied = 0
            return None, None
        # spent from here on, whatever becomes of it
        self._books.releases.append(tally.replied)
        started = time.perf_counter()
        try:
            opened = open_sum(
                current.grid,
                session.roster.keyholders,
                session.enrolment,
                session.run_id,
                server_round,
                collector.aggregator,
                collector.accepted,
                session.holder_timeout_s,
                session.selection,
            )
        except SumRefused as refused:
            current.bytes_keyholders += refused.traffic
            current.decrypt_seconds = time.perf_counter() - started
            self._discard_refused(server_round, tally, refused)
            return None, None
        current.bytes_keyholders += opened.traffic
        answered = time.perf_counter()
        current.decrypt_seconds = answered - started
        stepped = self.server_step(current.parameters, opened.total / tally.weight).astype(np.float32)
        if not np.isfinite(stepped).all():
            raise UserError(
                f"round {server_round}: the global model is not finite; lower training.learning_rate"
            )
        current.step_seconds = time.perf_counter() - answered
        metrics = MetricRecord({"clients": tally.replied})
        if (loss := tally.mean("train-loss")) is not None:
            metrics["train-loss"] = loss
        return messages.pack_parameters(stepped), metrics

    def _discard_refused(self, server_round: int, tally: Tally, refused: SumRefused) -> None:
        """Count the updates of a sum that is none, and end the run once there were too many such sums."""
        if refused_in_a_row(self.history) + 1 >= MOST_REFUSED:
            raise UserError(f"{refused}; {MOST_REFUSED} rounds in a row had no sum to open") from refused
        log.warning(
            "round %d discarded: its %d updates are no sum (%s); a client may have sent garbage: %s",
            server_round,
            tally.replied,
            refused.cause,
            refused,
        )
        tally.failures[SUM_REFUSED] = tally.replied
        tally.replied = 0

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
        """Run all rounds that are left; :attr:`history` has a :class:`RoundResult` for each.

        Args:
            grid: Flower's connection to the nodes.
            initial_arrays: the model to go on from, see ``messages.pack_parameters``.
            num_rounds: rounds of the whole run.
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
        if self.session.progress is None:
            self._books = self._open_books(None)
            self._report(0, arrays, evaluate_fn, result, None)
        for server_round in range(len(self.history), num_rounds + 1):
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
            if self.exhausted and server_round < num_rounds:
                log.warning(
                    "round %d of %d: %s; the run ends here with the model so far",
                    server_round,
                    num_rounds,
                    "every client has spent its privacy budget"
                    if self.session.client_level is None
                    else "the privacy budget allows no further sum",
                )
                break
        return result

    def _report(
        self,
        server_round: int,
        arrays: ArrayRecord,
        evaluate_fn: EvaluateFn | None,
        result: Result,
        current: Current | None,
    ) -> None:
        started = time.perf_counter()
        measured = evaluate_fn(server_round, arrays) if evaluate_fn else None
        seconds = time.perf_counter() - started
        metrics: dict[str, float] = {}
        if measured is not None:
            result.evaluate_metrics_serverapp[server_round] = measured
            metrics = {key: float(value) for key, value in measured.items() if isinstance(value, int | float)}
        report = self._books.close_round(server_round, metrics, seconds, current)
        vector = messages.unpack_parameters(arrays)
        for observer in self.session.observers:
            observer.round_done(report, vector)


def _causes(tally: Tally) -> str:
    return (
        ", ".join(f"{cause} x{count}" for cause, count in sorted(tally.failures.items())) or "no cause given"
    )
