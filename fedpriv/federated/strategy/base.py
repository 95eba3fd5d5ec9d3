"""The strategy base: Flower's interface, with every failure counted and every reply checked."""

import logging
import time
from collections.abc import Callable, Iterable

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Result
from flwr.serverapp.strategy import Strategy as FlowerStrategy

from fedpriv.errors import UserError
from fedpriv.federated import messages
from fedpriv.federated.answers import SumRefused
from fedpriv.federated.clipping import RunNorm
from fedpriv.federated.collect import DISCARDED, Collector
from fedpriv.federated.release import open_sum
from fedpriv.federated.start import start_digest
from fedpriv.federated.strategy.asking import draw_cohort, take_in, train_requests
from fedpriv.federated.strategy.books import Books, Current
from fedpriv.federated.strategy.session import Progress, Session
from fedpriv.federated.strategy.step import ServerStep
from fedpriv.he.selective import clear_fraction
from fedpriv.privacy.accounting import Spent
from fedpriv.privacy.client_level import ServerNoise
from fedpriv.results import RoundResult

log = logging.getLogger("fedpriv")

EvaluateFn = Callable[[int, ArrayRecord], MetricRecord | None]


class Strategy(ServerStep, FlowerStrategy):
    """Base of all strategies.

    A round asks a seeded cohort, sums the sealed updates w_i (x_i - x) that pass every check,
    opens the sum, divides by the sum of the weights of those that came, and hands the mean to
    :meth:`server_step`.

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
        self._norm = RunNorm(None)
        self._noise = ServerNoise(None)

    def bind(self, session: Session) -> None:
        """Give the strategy its run, at its beginning or where it was interrupted.

        Raises:
            ValueError: see :meth:`restore`.
        """
        self._session = session
        self._key = None if session.public_key is None else messages.pack_public_key(session.public_key)
        self._chosen = None if session.selection is None else messages.pack_chosen(session.selection)
        self._books = self._open_books(session.progress)
        self._norm = RunNorm(session.client_level, self.history)
        self._noise = ServerNoise(session.client_level)
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
            session.key_seconds,
            session.plan_of,
        )

    @property
    def history(self) -> list[RoundResult]:
        """Every round so far, from round 0."""
        return self._books.history

    def spent(self) -> Spent | None:
        """Bound what has been spent so far, in the round under way too; None where nothing has."""
        return self._books.spent(self._current)

    @property
    def exhausted(self) -> bool:
        """Whether no privacy budget allows another round."""
        return bool(self._no_budget())

    def _no_budget(self) -> str:
        """Why no privacy budget allows another round; empty while one may.

        A client that says that its budget, of this run or of all, is spent answers no more. With fewer others
        than ``min_replies`` every round would be discarded after they had paid for it.
        """
        session = self.session
        everybody = {member.partition for member in session.roster.clients}
        left = everybody - self._books.exhausted
        if everybody and not left:
            return "every client has spent its privacy budget"
        if left != everybody and len(left) < session.min_replies:
            return (
                f"{len(left)} of {len(everybody)} clients have privacy budget left, fewer than "
                f"federation.min_replies={session.min_replies}"
            )
        if session.client_level is None:
            return ""
        most = min(len(left), session.cohort or len(left))
        return "" if self._books.may_open(most) else "the privacy budget allows no further sum"

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
            "%s: clients %d, cohort %s, parameters %d, updates as %s",
            type(self).__name__,
            len(session.roster.clients),
            session.cohort or "all",
            session.layout.size,
            session.codec.scheme,
        )

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Address the cohort; all messages share one copy of the model and of the public key."""
        session = self.session
        asked = [(member, session.roster.weight(member)) for member in draw_cohort(session, server_round)]
        parameters = messages.unpack_parameters(arrays)
        size = parameters.nbytes + len(session.public_key or b"") + len(session.selection or b"")
        given = {key: value for key, value in config.items() if isinstance(value, int | float)}
        settings = {**given, **self.client_settings(), **self._norm.settings()}
        start = start_digest(session.run_digest, parameters, settings)
        norm = self._norm.norm
        self._current = Current(asked, parameters, start, grid, size * len(asked), clipping_norm=norm)
        return train_requests(
            session, server_round, asked, settings, parameters, arrays, self._key, self._chosen
        )

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
        noise = self._noise.source(server_round)
        collector = Collector(session, server_round, current.asked, current.start, noise)
        tally = current.tally = take_in(replies, collector, current, session.observers)
        self._books.account(tally, [member for member, _ in current.asked])
        if tally.replied == 0 and not tally.exhausted:
            who = (
                "the only client sent no" if tally.asked == 1 else f"none of the {tally.asked} clients sent a"
            )
            raise UserError(
                f"round {server_round}: {who} usable update ({tally.causes()}); see the clients' logs"
            )
        why = ""
        if tally.replied < session.min_replies:
            why = f"federation.min_replies={session.min_replies}"
        elif not self._books.may_open(tally.replied):
            why = "their sum is not within the privacy budget"
        if why:
            counts = f"{tally.replied} of {tally.asked} updates"
            log.warning("round %d discarded: %s, %s (%s)", server_round, counts, why, tally.causes())
            tally.discard(DISCARDED)
            return None, None
        # spent from here on, whatever becomes of it
        self._books.opening(tally.replied)
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
            self._books.discard_refused(server_round, tally, refused)
            return None, None
        current.bytes_keyholders += opened.traffic
        answered = time.perf_counter()
        current.decrypt_seconds = answered - started
        total, current.within_norm = self._norm.opened(opened.total, tally.replied)
        mean = total / tally.weight
        if session.listener is not None:
            session.listener.released(server_round, mean)
        stepped = self.server_step(current.parameters, mean).astype(np.float32)
        if not np.isfinite(stepped).all():
            raise UserError(
                f"round {server_round}: the global model is not finite; lower training.learning_rate"
            )
        current.step_seconds = time.perf_counter() - answered
        metrics = MetricRecord({"clients": tally.replied})
        if (loss := tally.mean("train-loss")) is not None:
            metrics["train-loss"] = loss
        return messages.pack_parameters(stepped), metrics

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
                    self._no_budget(),
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
