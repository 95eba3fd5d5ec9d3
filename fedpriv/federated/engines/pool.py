"""Worker processes for the in-process engine: one thread each, persistent, fed as they finish.

The arrays that a cohort shares (the global model) are sent once per worker and round; contexts
travel with their messages, so any worker serves any client. Workers are our own child processes
and speak pickle over private pipes; nothing from outside reaches it.
"""

import contextlib
import fcntl
import logging
import os
import pickle
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO
from multiprocessing.connection import Connection, wait
from typing import Any

from flwr.app import Array, Context, Message

from fedpriv.errors import UserError
from fedpriv.federated.engines.allocator import MMAP_THRESHOLD_BYTES
from fedpriv.federated.engines.inprocess import Executor

SHARED_ARRAY_BYTES = 1 << 16
"""Arrays from this size on are sent once per worker and batch of messages."""

PIPE_BYTES = 1 << 20
"""What Linux lets a pipe of an ordinary user hold."""

START_TIMEOUT_S = 120.0

_WORKER = "import gc; gc.disable(); from fedpriv.federated.engines.worker import main; main()"
"""Looking for garbage among what is imported takes a sixth of a worker's start, and there is none."""


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
    process: subprocess.Popen[bytes]
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
        app: ``module:function`` of a factory that takes the configuration and returns the
            ClientApp, called in each worker.
        config: the run's configuration as JSON.
        workers: number of processes.
        threads: torch threads in each; cores / workers, or training is several times slower.

    Raises:
        UserError: when a worker does not start.
    """

    def __init__(self, app: str, config: str, workers: int, threads: int = 1) -> None:
        """Start the workers and wait until all are ready."""
        self._app, self._config, self._threads = app, config, threads
        self._workers = [self._start() for _ in range(workers)]
        for worker in self._workers:
            self._await_ready(worker)

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
        for worker in self._workers:
            try:
                worker.process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                worker.process.kill()
                worker.process.wait()
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
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": str(self._threads),
            "MALLOC_MMAP_THRESHOLD_": str(MMAP_THRESHOLD_BYTES),
            "MALLOC_TRIM_THRESHOLD_": str(2**32 - 1),
        }
        process = subprocess.Popen(
            [sys.executable, "-c", _WORKER, str(their_input), str(their_output)],
            pass_fds=[their_input, their_output],
            env=environment,
            stdin=subprocess.DEVNULL,
        )
        os.close(their_input)
        os.close(their_output)
        worker = _Worker(
            process, Connection(our_input, writable=False), Connection(our_output, readable=False)
        )
        worker.output.send_bytes(pickle.dumps((self._app, self._config)))
        return worker

    def _await_ready(self, worker: _Worker) -> None:
        if worker.input.poll(START_TIMEOUT_S):
            try:
                worker.input.recv_bytes()
                return
            except (EOFError, OSError):
                pass
        self.close()
        raise UserError("engine.workers: a worker process did not start; see its message above")

    def _replace(self, worker: _Worker) -> None:
        worker.process.kill()
        worker.process.wait()
        worker.input.close()
        worker.output.close()
        fresh: Any = self._start()
        self._await_ready(fresh)
        self._workers[self._workers.index(worker)] = fresh


def _pipe() -> tuple[int, int]:
    """Return (read end, write end) of a pipe that takes a whole update without waiting, if it may."""
    ends = os.pipe()
    with contextlib.suppress(OSError, AttributeError):
        fcntl.fcntl(ends[1], fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    return ends
