"""Worker processes for the in-process engine: one thread each, persistent, fed as they finish.

The arrays that a cohort shares (the global model) are sent once per worker and round; contexts
travel with their messages, so any worker serves any client. Workers are our own child processes
and speak pickle over a private socket pair; nothing from outside reaches it.
"""

import os
import pickle
import socket
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

START_TIMEOUT_S = 120.0


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
    connection: Connection
    task: int | None = None
    deadline: float | None = None
    known: dict[int, int] = field(default_factory=dict)


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
        waiting, finished, following = deque(range(len(work))), dict[int, tuple[Message | None, Context]](), 0
        for worker in [worker for worker in self._workers if worker.task is not None]:
            self._replace(worker)  # left over from a batch that nobody read to its end
        for worker in self._workers:
            worker.known = {}
            worker.connection.send_bytes(pickle.dumps(("begin", None)))
        while following < len(work):
            for index, worker in enumerate(self._workers):
                if worker.task is None and waiting:
                    self._give(index, waiting.popleft(), work, timeout_s, finished)
            self._collect(work, finished)
            while following in finished:
                yield finished.pop(following)
                following += 1

    def close(self) -> None:
        """Stop all workers."""
        for worker in self._workers:
            worker.connection.close()
        for worker in self._workers:
            try:
                worker.process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                worker.process.kill()
                worker.process.wait()
        self._workers = []

    def _give(
        self,
        index: int,
        task: int,
        work: list[tuple[Message, Context]],
        timeout_s: float | None,
        finished: dict[int, tuple[Message | None, Context]],
    ) -> None:
        worker = self._workers[index]
        buffer = BytesIO()
        pickler = _Pickler(buffer, worker.known)
        pickler.dump(work[task])
        try:
            for number, array in pickler.new:
                fields = (number, array.dtype, array.shape, array.stype, array.data)
                worker.connection.send_bytes(
                    pickle.dumps(("array", fields), protocol=pickle.HIGHEST_PROTOCOL)
                )
            worker.connection.send_bytes(pickle.dumps(("task", buffer.getvalue())))
        except (BrokenPipeError, ConnectionResetError):
            finished[task] = (None, work[task][1])
            self._replace(worker)
            return
        worker.task = task
        worker.deadline = None if timeout_s is None else time.monotonic() + timeout_s

    def _collect(
        self, work: list[tuple[Message, Context]], finished: dict[int, tuple[Message | None, Context]]
    ) -> None:
        busy = [worker for worker in self._workers if worker.task is not None]
        deadlines = [worker.deadline for worker in busy if worker.deadline is not None]
        patience = max(0.0, min(deadlines) - time.monotonic()) if deadlines else None
        ready = wait([worker.connection for worker in busy], timeout=patience) if busy else []
        for worker in busy:
            task = worker.task
            if task is None:
                continue
            if worker.connection in ready:
                try:
                    finished[task] = pickle.loads(worker.connection.recv_bytes())  # noqa: S301 - our own child
                    worker.task = None
                    continue
                except (EOFError, OSError):
                    pass
            elif worker.deadline is None or time.monotonic() < worker.deadline:
                continue
            finished[task] = (None, work[task][1])
            self._replace(worker)

    def _start(self) -> _Worker:
        ours, theirs = socket.socketpair()
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": str(self._threads),
            "MALLOC_MMAP_THRESHOLD_": str(MMAP_THRESHOLD_BYTES),
            "MALLOC_TRIM_THRESHOLD_": str(2**32 - 1),
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "fedpriv.federated.engines.worker", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            env=environment,
            stdin=subprocess.DEVNULL,
        )
        theirs.close()
        connection = Connection(ours.detach())
        connection.send_bytes(pickle.dumps((self._app, self._config)))
        return _Worker(process, connection)

    def _await_ready(self, worker: _Worker) -> None:
        if worker.connection.poll(START_TIMEOUT_S):
            try:
                worker.connection.recv_bytes()
                return
            except (EOFError, OSError):
                pass
        self.close()
        raise UserError("engine.workers: a worker process did not start; see its message above")

    def _replace(self, worker: _Worker) -> None:
        worker.process.kill()
        worker.process.wait()
        worker.connection.close()
        fresh: Any = self._start()
        self._await_ready(fresh)
        self._workers[self._workers.index(worker)] = fresh
