"""Metrics and tags on their way to an MLflow run, written by a thread while the run goes on."""

import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress

from mlflow import MlflowClient
from mlflow.entities import Metric, RunTag
from mlflow.exceptions import MlflowException

_METRICS_PER_CALL = 900
"""MLflow takes 1000 entries at once, tags among them."""


class Outbox:
    """Writes to one run in the order in which it is told to, without keeping who tells it waiting.

    Training happens in other processes, so that a thread of this one costs a run next to nothing.

    Guarantee:
        Metrics that were put together are written in one call, as long as MLflow takes so many.
        What the store refuses stays, and is tried again with whatever comes next and by :meth:`flush`.
        What was put before a :meth:`flush` that returns is in the store.

    Edge cases:
        A process that is killed loses what is under way: at most what the store did not keep up with.
        Ctrl-C and SIGTERM reach the main thread only, so that they cut no database transaction in two.
    """

    def __init__(
        self, client: MlflowClient, run_id: str, refused: Callable[[int, MlflowException], None]
    ) -> None:
        """Bind to a run.

        Args:
            client: bound to the store.
            run_id: the run.
            refused: hears, from the thread, of every refusal and the step that it stopped at.
        """
        self._client, self._run_id, self._refused = client, run_id, refused
        self._metrics: deque[list[Metric]] = deque()
        self._tags: dict[str, str] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="mlflow")
        self._lock = threading.Lock()
        self._busy = False
        self._written: Future[None] | None = None

    def put(self, metrics: Sequence[Metric], tags: Mapping[str, str] | None = None) -> None:
        """Have this written.

        Args:
            metrics: of one step.
            tags: of the run; a later text of the same name wins.

        Raises:
            Exception: what ended the thread before, other than a refusal of the store.
        """
        with self._lock:
            if metrics:
                self._metrics.append(list(metrics))
            self._tags |= tags or {}
        self._begin()

    def flush(self) -> None:
        """Wait until all is written.

        Raises:
            MlflowException: if the store refuses it.
        """
        self._begin()
        if self._written is not None:
            self._written.result()

    def settle(self) -> None:
        """Wait until all is written or was refused."""
        with suppress(MlflowException):  # was said, and stays
            self.flush()

    def close(self) -> None:
        """End the thread when it has tried to write what there is."""
        self._thread.shutdown()

    def _begin(self) -> None:
        with self._lock:
            if self._busy or not (self._metrics or self._tags):
                return
            if self._written is not None:
                error = self._written.exception()
                if error is not None and not isinstance(error, MlflowException):
                    raise error
            self._busy = True
            self._written = self._thread.submit(self._write)

    def _write(self) -> None:
        try:
            while self._write_some():
                pass
        except BaseException as error:
            with self._lock:
                self._busy = False
                step = self._metrics[0][0].step if self._metrics else 0
            if isinstance(error, MlflowException):
                self._refused(step, error)
            raise

    def _write_some(self) -> bool:
        """Write as much as one call takes; say whether there was anything."""
        with self._lock:
            if not self._metrics and not self._tags:
                self._busy = False  # under the lock: who puts next begins again
                return False
            if self._metrics and len(self._metrics[0]) > _METRICS_PER_CALL:
                whole = self._metrics.popleft()
                self._metrics.extendleft((whole[_METRICS_PER_CALL:], whole[:_METRICS_PER_CALL]))
            count, size = 0, 0
            for entry in self._metrics:
                if size + len(entry) > _METRICS_PER_CALL:
                    break
                count, size = count + 1, size + len(entry)
            metrics = [metric for entry in list(self._metrics)[:count] for metric in entry]
            tags = dict(self._tags)
        self._client.log_batch(
            self._run_id, metrics=metrics, tags=[RunTag(name, text) for name, text in tags.items()]
        )
        with self._lock:
            for _ in range(count):
                self._metrics.popleft()
            self._tags = {name: text for name, text in self._tags.items() if tags.get(name) != text}
        return True
