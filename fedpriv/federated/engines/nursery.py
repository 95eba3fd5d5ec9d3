"""A process that imports once what worker processes need, and forks each of them from itself.

To import takes seconds of a core, to fork milliseconds, and what is imported is in memory once. It is begun
early, while the parent still reads its data. The process holds nothing of a run: no configuration, no data,
no keys; a worker is told those by its own pipes. It starts no thread. OpenBLAS, which numpy and scipy bring,
does, where a worker is to have several; it ends its own before every fork, and makes them anew to compute.
"""

import contextlib
import ctypes
import gc
import importlib
import os
import signal
import socket
import struct
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from types import TracebackType
from typing import NoReturn, Self

import numpy as np
import torch

from fedpriv.errors import UserError
from fedpriv.federated.engines.allocator import MMAP_THRESHOLD_BYTES
from fedpriv.federated.engines.worker import work
from fedpriv.training.local import warm_up

START_TIMEOUT_S = 120.0

_PROGRAM = (
    "import gc, sys; gc.disable(); sys.path[:] = {path!a}; "
    "from fedpriv.federated.engines.nursery import serve; serve()"
)
"""Looking for garbage among what is imported takes a sixth of the start, and there is none."""
_REQUEST = struct.Struct("<iid")
"""Number of the request; the worker to end, or 0 to make one; how long it may take, in seconds."""
_ANSWER = struct.Struct("<ii")
"""Number of the request; the worker."""
_PR_SET_PDEATHSIG = 1
_LOOK_S = 0.005


class Nursery:
    """Makes and ends worker processes.

    Guarantee:
        - Under Linux all workers are killed when the process that made the nursery is gone, however it ended.
        - Workers draw their own randomness: none of it is of the process that they are forked from.
        - Workers import from where this process does, and from nowhere else.
        - What interrupts the terminal's processes (Ctrl-C) does not end it, not even while it starts.

    Args:
        app: ``module:function`` of the factory that workers call; its module is imported ahead.
        threads: torch threads of each worker.
    """

    def __init__(self, app: str, threads: int) -> None:
        """Start the process, and do not wait for it."""
        self.app, self.threads = app, threads
        self._asked = 0
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": str(threads),
            "MALLOC_MMAP_THRESHOLD_": str(MMAP_THRESHOLD_BYTES),
            "MALLOC_TRIM_THRESHOLD_": str(2**32 - 1),
        }
        self._socket, theirs = socket.socketpair()
        self._socket.settimeout(START_TIMEOUT_S)
        # as multiprocessing does; with -c alone a user's queue.py in the working folder would come first
        program = _PROGRAM.format(path=[str(each) for each in sys.path])
        with theirs, _interrupts_held_back():
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", program, str(theirs.fileno()), app, str(os.getpid())],
                pass_fds=[theirs.fileno()],
                env=environment,
                stdin=subprocess.DEVNULL,
            )

    def fork(self, requests: int, replies: int) -> int:
        """Return the process id of a new worker, which reads and writes these file descriptors.

        Raises:
            UserError: when the process is gone, or does not answer.
        """
        try:
            return self._ask(0, 0.0, [requests, replies])
        except OSError as error:
            raise UserError(
                "engine.workers: a worker process did not start; see its message above, "
                "or give it more memory if there is none"
            ) from error

    def end(self, worker: int, patience_s: float) -> None:
        """Wait until a worker has ended, and kill it after ``patience_s``; without the nursery it is dead."""
        with contextlib.suppress(OSError):
            self._ask(worker, patience_s, [])

    def close(self) -> None:
        """End the process; workers that are left go with it."""
        self._socket.close()
        self._process.kill()
        self._process.wait()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()

    def _ask(self, worker: int, patience_s: float, handles: list[int]) -> int:
        self._asked += 1
        socket.send_fds(self._socket, [_REQUEST.pack(self._asked, worker, patience_s)], handles)
        while True:  # before the answer there may be one that an interrupted call did not wait for
            found = self._socket.recv(_ANSWER.size)
            if len(found) != _ANSWER.size:
                raise ConnectionResetError
            number, worker = _ANSWER.unpack(found)
            if number == self._asked:
                return int(worker)


def serve() -> None:
    """Be the process: import, then make and end workers until the parent closes its end or dies."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interrupt means
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    end, app, parent = sys.argv[1:]
    _die_with(int(parent))
    importlib.import_module(app.partition(":")[0])
    warm_up()
    gc.freeze()  # workers share its pages until one of them writes, and the collector writes to all it sees
    link = socket.socket(fileno=int(end))
    with contextlib.suppress(ConnectionError):  # the parent was in a hurry
        _attend(link)


def _attend(link: socket.socket) -> None:
    own = os.getpid()
    while True:
        request, handles, _, _ = socket.recv_fds(link, _REQUEST.size, 2)
        if len(request) != _REQUEST.size:
            return
        number, worker, patience_s = _REQUEST.unpack(request)
        if worker:
            _end(worker, patience_s)
        else:
            worker = os.fork()
            if worker == 0:
                link.close()
                _die_with(own)
                _be_worker(*handles)
            for handle in handles:
                os.close(handle)
        link.sendall(_ANSWER.pack(number, worker))


def _be_worker(requests: int, replies: int) -> NoReturn:
    """Be a worker, and end without what this process would do at its own end."""
    status = 1
    try:
        np.random.seed()  # noqa: NPY002 - as a process of its own would; Python's own generator sees to itself
        torch.seed()
        work(requests, replies)
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _end(worker: int, patience_s: float) -> None:
    until = time.monotonic() + patience_s
    try:
        while os.waitpid(worker, os.WNOHANG) == (0, 0):
            if time.monotonic() >= until:
                os.kill(worker, signal.SIGKILL)
                os.waitpid(worker, 0)
                return
            time.sleep(_LOOK_S)
    except ChildProcessError:
        pass


@contextlib.contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Let a process that is started in the block get no SIGINT before it takes them itself.

    It could ignore them as its first act, but Python takes a while to come to that.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _die_with(parent: int) -> None:
    """Ask Linux to kill this process when its parent is gone, even in the middle of a client."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it was gone before
        os._exit(1)
