"""Metrics, tags and other work on their way to an MLflow run, done by a thread while the run goes on."""

import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from queue import Empty, SimpleQueue

from mlflow import MlflowClient
from mlflow.entities import Metric, RunTag

_METRICS_PER_CALL = 900
"""MLflow takes 1000 entries at once, tags among them."""

Work = Callable[[], object]
Answer = SimpleQueue[Exception | None]
Order = tuple[list[Metric], dict[str, str]] | tuple[Work | None, Answer] | None


class Outbox:
    """Writes to one run in the order in which it is told to, without keeping who tells it waiting.

    Where clients train in other processes, a thread of this one costs a run next to nothing; where they
    train in this one, it costs what writing costs.

    Guarantee:
        Metrics that were put together are written in one call, as long as MLflow takes so many.
        What the store refuses stays, and is tried again with whatever comes next and by :meth:`flush`.
        What was put before a :meth:`flush` that returns is in the store.
        Ctrl-C and SIGTERM, which reach the main thread only, cut no database transaction in two, and
        whatever they interrupt here, nothing that was put is lost.

    Edge cases:
        A process that ends loses what is under way, which is as much as the store is behind: the thread does
        not keep it alive.
    """

    def __init__(self, client: MlflowClient, run_id: str, refused: Callable[[int, Exception], None]) -> None:
        """Begin a thread that writes to a run.

        Args:
            client: bound to the store.
            run_id: the run.
            refused: hears, from the thread, of every refusal and the step that it stopped at.
        """
        # its put() is one step of the interpreter's: no signal comes between, and no lock can stay held
        self._orders: SimpleQueue[Order] = SimpleQueue()
        writer = _Writer(client, run_id, refused)
        self._thread = threading.Thread(target=writer.work, args=(self._orders,), name="mlflow", daemon=True)
        self._thread.start()

    def put(self, metrics: Sequence[Metric], tags: Mapping[str, str] | None = None) -> None:
        """Have this written.

        Args:
            metrics: of one step.
            tags: of the run; a later text of the same name wins.
        """
        self._orders.put((list(metrics), dict(tags or {})))

    def flush(self, patience: float | None = None) -> None:
        """Wait until all is written.

        Args:
            patience: in seconds; None waits for as long as the store takes.

        Raises:
            Exception: why it cannot be: MlflowException if the store refuses it.
            TimeoutError: if it is not by then.
        """
        self._ask(None, patience)

    def do(self, work: Work, patience: float | None = None) -> None:
        """Have the thread do something once it has tried to write what was put before, and wait for it.

        Args:
            work: done whether or not the store took what was put before.
            patience: as for :meth:`flush`.

        Raises:
            Exception: what ``work`` raises.
            TimeoutError: if it is not done by then; it may be yet.
        """
        self._ask(work, patience)

    def close(self, patience: float | None = None) -> None:
        """Let the thread end when it has tried to write what there is, and wait for that.

        Args:
            patience: in seconds; a thread that is not done by then is left to its store.
        """
        self._orders.put(None)
        self._thread.join(patience)

    def _ask(self, work: Work | None, patience: float | None) -> None:
        answer: Answer = SimpleQueue()
        self._orders.put((work, answer))
        try:
            error = answer.get(timeout=patience)
        except Empty:
            raise TimeoutError(f"no answer from the store within {patience:g} s") from None
        if error is not None:
            raise error


class _Writer:
    """What the thread alone knows."""

    def __init__(self, client: MlflowClient, run_id: str, refused: Callable[[int, Exception], None]) -> None:
        self._client, self._run_id, self._refused = client, run_id, refused
        self._metrics: list[list[Metric]] = []
        self._tags: dict[str, str] = {}

    def work(self, orders: SimpleQueue[Order]) -> None:
        while True:
            order = orders.get()
            while order is not None and isinstance(order[0], list):
                # all that has come meanwhile goes in one call
                self._keep(*order)
                try:
                    order = orders.get_nowait()
                except Empty:
                    break
            error = self._write()
            if order is None:
                return
            if not isinstance(order[0], list):
                work, answer = order
                answer.put(error if work is None else _done(work))

    def _keep(self, metrics: list[Metric], tags: dict[str, str]) -> None:
        while metrics:
            self._metrics.append(metrics[:_METRICS_PER_CALL])
            metrics = metrics[_METRICS_PER_CALL:]
        self._tags |= tags

    def _write(self) -> Exception | None:
        """Write what there is; return why not all was."""
        while self._metrics or self._tags:
            count, size = 0, 0
            while count < len(self._metrics) and size + len(self._metrics[count]) <= _METRICS_PER_CALL:
                size += len(self._metrics[count])
                count += 1
            metrics = [metric for put in self._metrics[:count] for metric in put]
            tags = [RunTag(name, text) for name, text in self._tags.items()]
            error = _done(partial(self._client.log_batch, self._run_id, metrics=metrics, tags=tags))
            if error is not None:
                self._refused(self._metrics[0][0].step if self._metrics else 0, error)
                return error
            del self._metrics[:count]
            self._tags.clear()
        return None


def _done(work: Work) -> Exception | None:
    try:
        work()
    except Exception as error:
        return error
    return None
