"""What a worker process does, see :mod:`fedpriv.federated.engines.pool`."""

import gc
import importlib
import logging
import os
import pickle
from collections import deque
from io import BytesIO
from logging.handlers import QueueHandler
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any

import torch
from flwr.app import Array

from fedpriv.federated.engines.inprocess import call


class _Unpickler(pickle.Unpickler):
    """Puts the shared arrays back."""

    def __init__(self, data: bytes, arrays: dict[int, Array]) -> None:
        super().__init__(BytesIO(data))
        self._arrays = arrays

    def persistent_load(self, pid: Any) -> Array:
        return self._arrays[pid]


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


def work(reads: int, writes: int) -> None:
    """Serve tasks until the parent closes its end; the arguments are the file descriptors to it."""
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    records = _Records()
    logging.getLogger().addHandler(records)
    logging.getLogger().setLevel(logging.INFO)
    requests = Connection(reads, writable=False)
    replies = Connection(writes, readable=False)
    factory, config = pickle.loads(requests.recv_bytes())  # noqa: S301 - our own parent
    module, _, name = factory.partition(":")
    app = getattr(importlib.import_module(module), name)(config)
    # what is there by now stays to the end: the collector need not look at it again and again
    gc.freeze()
    gc.enable()
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
