"""Worker processes for the in-process engine: persistent, fed as they finish.

The arrays that a cohort shares (the global model) are sent once per worker and round; contexts
travel with their messages, so any worker serves any client. Workers are our own processes (see
:mod:`fedpriv.federated.engines.nursery`) and speak pickle over private pipes; nothing from outside reaches
it.
"""

import contextlib
import fcntl
import logging
import os
import pickle
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO
from multiprocessing.connection import Connection, wait

from flwr.app import Array, Context, Message

from fedpriv.errors import UserError
from fedpriv.federated.engines.inprocess import Executor
from fedpriv.federated.engines.nursery import START_TIMEOUT_S, Nursery

SHARED_ARRAY_BYTES = 1 << 16
"""Arrays from this size on are sent once per worker and batch of messages."""

PIPE_BYTES = 1 << 20
"""What Linux lets a pipe of an ordinary user hold."""

_PATIENCE_S = 5.0


class _Pickler(pickle.Pickler):
    """Replaces large arrays by numbers and collects those the worker does not have yet."""

    def __init__(self, file: BytesIO, known: dict[int, int]) -> None:
        super().__init__(file, protocol=pickle.HIGHEST_PROTOCOL)
        self._known = known
        self.new: list[tuple[int, Array]] = []

    def persistent_id(self, obj: object) -> int | None:
        if not isinstance(obj, Array) or len(obj.data) < SHARED_ARRAY_BYTES:
            return None
        if id(obj) not in self._known:
            self._known[id(obj)] = len(self._known)
            self.new.append((self._known[id(obj)], obj))
        return self._known[id(obj)]


@dataclass
class _Worker:
    process: int
    input: Connection
    output: Connection
    tasks: deque[int] = field(default_factory=deque)
    deadline: float | None = None
    known: dict[int, int] = field(default_factory=dict)


@dataclass
class _Batch:
    """The messages of one call, which of them wait, and which are done but not yet yielded."""

    work: list[tuple[Message, Context]]
    timeout_s: float | None
    waiting: deque[int]
    finished: dict[int, tuple[Message | None, Context]] = field(default_factory=dict)

    def lose(self, task: int) -> None:
        """Note that a task has no reply: its client was late, or its worker died."""
        self.finished[task] = (None, self.work[task][1])


class PoolExecutor(Executor):
    """Runs clients on ``workers`` processes.

    A client that uses up its time has its worker killed and replaced, and yields no reply; so
    does a worker that dies. ``timeout_s`` is each client's own time, from the moment that a
    worker takes it up.

    Args:
        nursery: makes the workers, and says what they run; it is its owner's to close.
        config: the run's configuration as JSON.
        workers: number of processes.

    Raises:
        UserError: when a worker does not start.
    """

    def __init__(self, nursery: Nursery, config: str, workers: int) -> None:
        """Start the workers and wait until all are ready."""
        self._nursery, self._config = nursery, config
        self._workers: list[_Worker] = []
        try:
            for _ in range(workers):
                self._workers.append(self._start())
            for worker in self._workers:
                _await_ready(worker)
        except BaseException:
            self.close()
            raise

    def run(
        self, work: list[tuple[Message, Context]], timeout_s: float | None
    ) -> Iterator[tuple[Message | None, Context]]:
        """See :class:`Executor`; replies that overtake others are held back."""
        batch, following = _Batch(work, timeout_s, deque(range(len(work)))), 0
        for worker in [worker for worker in self._workers if worker.tasks]:
            self._replace(worker)  # left over from a batch that nobody read to its end
        for worker in self._workers:
            worker.known = {}
            worker.output.send_bytes(pickle.dumps(("begin", None)))
        while following < len(work):
            self._feed(batch)
            if following not in batch.finished:
                self._collect(batch)
                self._feed(batch)  # before the reader takes its time over the reply
            while following in batch.finished:
                yield batch.finished.pop(following)
                following += 1

    def close(self) -> None:
        """Stop all workers."""
        for worker in self._workers:
            worker.output.close()
        until = time.monotonic() + _PATIENCE_S  # for all of them together: who interrupts a run waits for it
        for worker in self._workers:
            # what a worker is at is lost in any case
            self._nursery.end(worker.process, 0 if worker.tasks else max(0.0, until - time.monotonic()))
            worker.input.close()
        self._workers = []

    def _feed(self, batch: _Batch) -> None:
        """Give every worker a task, and a second one to begin with at once while many wait."""
        for depth in (1, 2):
            for worker in list(self._workers):
                if len(worker.tasks) < depth and len(batch.waiting) > (depth - 1) * len(self._workers):
                    self._give(worker, batch.waiting.popleft(), batch)

    def _give(self, worker: _Worker, task: int, batch: _Batch) -> None:
        buffer = BytesIO()
        pickler = _Pickler(buffer, worker.known)
        pickler.dump(batch.work[task])
        try:
            for number, array in pickler.new:
                fields = (number, array.dtype, array.shape, array.stype, array.data)
                worker.output.send_bytes(pickle.dumps(("array", fields), protocol=pickle.HIGHEST_PROTOCOL))
            worker.output.send_bytes(pickle.dumps(("task", buffer.getvalue())))
        except (BrokenPipeError, ConnectionResetError):
            worker.tasks.append(task)
            self._abandon(worker, batch)
            return
        if not worker.tasks:
            worker.deadline = None if batch.timeout_s is None else time.monotonic() + batch.timeout_s
        worker.tasks.append(task)

    def _collect(self, batch: _Batch) -> None:
        """Wait for a reply, a death or a deadline, whichever comes first."""
        busy = [worker for worker in self._workers if worker.tasks]
        deadlines = [worker.deadline for worker in busy if worker.deadline is not None]
        patience = max(0.0, min(deadlines) - time.monotonic()) if deadlines else None
        ready = wait([worker.input for worker in busy], timeout=patience) if busy else []
        for worker in busy:
            if worker.input in ready:
                try:
                    *reply, records = pickle.loads(worker.input.recv_bytes())  # noqa: S301 - our own child
                except (EOFError, OSError):
                    self._abandon(worker, batch)
                    continue
                batch.finished[worker.tasks.popleft()] = (reply[0], reply[1])
                for record in records:
                    logging.getLogger(record.name).handle(record)
                worker.deadline = None if batch.timeout_s is None else time.monotonic() + batch.timeout_s
            elif worker.deadline is not None and time.monotonic() >= worker.deadline:
                self._abandon(worker, batch)

    def _abandon(self, worker: _Worker, batch: _Batch) -> None:
        """Replace a worker that died or was late: its task is lost, one that it had not begun is not."""
        batch.lose(worker.tasks.popleft())
        batch.waiting.extendleft(reversed(worker.tasks))
        self._replace(worker)

    def _start(self) -> _Worker:
        their_input, our_output = _pipe()
        our_input, their_output = _pipe()
        try:
            process = self._nursery.fork(their_input, their_output)
        except BaseException:
            os.close(our_input)
            os.close(our_output)
            raise
        finally:
            os.close(their_input)
            os.close(their_output)
        worker = _Worker(
            process, Connection(our_input, writable=False), Connection(our_output, readable=False)
        )
        worker.output.send_bytes(pickle.dumps((self._nursery.app, self._config)))
        return worker

    def _replace(self, worker: _Worker) -> None:
        self._nursery.end(worker.process, patience_s=0)
        worker.input.close()
        worker.output.close()
        fresh = self._start()
        self._workers[self._workers.index(worker)] = fresh
        _await_ready(fresh)


def _await_ready(worker: _Worker) -> None:
    try:
        if worker.input.poll(START_TIMEOUT_S):
            worker.input.recv_bytes()
            return
    except (EOFError, OSError):
        pass
    raise UserError("engine.workers: a worker process did not start; see its message above")


def _pipe() -> tuple[int, int]:
    """Return (read end, write end) of a pipe that takes a whole update without waiting, if it may."""
    ends = os.pipe()
    with contextlib.suppress(OSError, AttributeError):
        fcntl.fcntl(ends[1], fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    return ends
