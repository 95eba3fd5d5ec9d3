"""The main program of a worker process, see :mod:`fedpriv.federated.engines.pool`."""

import atexit
import ctypes
import gc
import importlib
import logging
import os
import pickle
import signal
import sys
from collections import deque
from io import BytesIO
from logging.handlers import QueueHandler
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any

import torch
from flwr.app import Array

from fedpriv.federated.engines.inprocess import call
from fedpriv.training.local import warm_up

_PR_SET_PDEATHSIG = 1


class _Unpickler(pickle.Unpickler):
    """Puts the shared arrays back."""

    def __init__(self, data: bytes, arrays: dict[int, Array]) -> None:
        super().__init__(BytesIO(data))
        self._arrays = arrays

    def persistent_load(self, pid: Any) -> Array:
        return self._arrays[pid]


def _die_with_parent() -> None:
    """Ask Linux to kill this process when its parent is gone, even in the middle of a client."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class _Records(QueueHandler):
    """Keeps log records, made picklable, for the parent to log as its own."""

    def __init__(self) -> None:
        self.kept: deque[logging.LogRecord] = deque()
        super().__init__(SimpleQueue())

    def enqueue(self, record: logging.LogRecord) -> None:
        self.kept.append(record)

    def take(self) -> list[logging.LogRecord]:
        records = list(self.kept)
        self.kept.clear()
        return records


def main() -> None:
    """Serve tasks until the parent closes its end or dies."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interrupt means
    _die_with_parent()
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    records = _Records()
    logging.getLogger().addHandler(records)
    logging.getLogger().setLevel(logging.INFO)
    requests = Connection(int(sys.argv[1]), writable=False)
    replies = Connection(int(sys.argv[2]), readable=False)
    factory, config = pickle.loads(requests.recv_bytes())  # noqa: S301 - our own parent
    module, _, name = factory.partition(":")
    app = getattr(importlib.import_module(module), name)(config)
    warm_up()
    # what is there by now stays to the end: the collector need not look at it again and again
    gc.freeze()
    gc.enable()
    atexit.register(gc.freeze)  # nor once more when the process ends
    replies.send_bytes(b"ready")
    arrays: dict[int, Array] = {}
    while True:
        try:
            kind, payload = pickle.loads(requests.recv_bytes())  # noqa: S301 - our own parent
        except EOFError:
            return
        if kind == "begin":
            arrays = {}
        elif kind == "array":
            number, *fields = payload
            arrays[number] = Array(*fields)
        else:
            message, context = _Unpickler(payload, arrays).load()
            reply = call(app, message, context)
            try:
                replies.send_bytes(
                    pickle.dumps((reply, context, records.take()), protocol=pickle.HIGHEST_PROTOCOL)
                )
            except BrokenPipeError:
                return


if __name__ == "__main__":
    main()
