"""The main program of a worker process, see :mod:`fedpriv.federated.engines.pool`."""

import importlib
import os
import pickle
import signal
import sys
from io import BytesIO
from multiprocessing.connection import Connection
from typing import Any

import torch
from flwr.app import Array

from fedpriv.federated.engines.inprocess import call
from fedpriv.training.local import warm_up


class _Unpickler(pickle.Unpickler):
    """Puts the shared arrays back."""

    def __init__(self, data: bytes, arrays: dict[int, Array]) -> None:
        super().__init__(BytesIO(data))
        self._arrays = arrays

    def persistent_load(self, pid: Any) -> Array:
        return self._arrays[pid]


def main() -> None:
    """Serve tasks until the parent closes its end or dies."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interrupt means
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    requests = Connection(int(sys.argv[1]), writable=False)
    replies = Connection(int(sys.argv[2]), readable=False)
    factory, config = pickle.loads(requests.recv_bytes())  # noqa: S301 - our own parent
    module, _, name = factory.partition(":")
    app = getattr(importlib.import_module(module), name)(config)
    warm_up()
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
                replies.send_bytes(pickle.dumps((reply, context), protocol=pickle.HIGHEST_PROTOCOL))
            except BrokenPipeError:
                return


if __name__ == "__main__":
    main()
