"""Processes that compute for this one: SEAL's binding holds Python's lock, so that threads gain nothing."""

import contextlib
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from fedpriv.errors import UserError
from fedpriv.uninterrupted import uninterrupted

_Answer = TypeVar("_Answer")


def in_processes(
    work: Callable[..., _Answer], calls: Sequence[tuple[Any, ...]], count: int
) -> Iterator[_Answer]:
    """Yield what ``work`` returns for each of ``calls``, in their order.

    Guarantee:
        - No process outlives the iteration, nor this process, however that ends: each of them ends when a
          pipe does whose other end only this process has.

    Args:
        work: a function of a module.
        calls: arguments for each call.
        count: processes.

    Raises:
        UserError: when a process was killed.
    """
    theirs, ours = multiprocessing.Pipe(duplex=False)
    # fresh interpreters: a fork of a process with threads, as a service is, may hang
    context = multiprocessing.get_context("spawn")
    with contextlib.ExitStack() as stack:
        pool = ProcessPoolExecutor(count, context, _end_with, (theirs,))
        # in reverse order: whatever is under way when the iteration is given up ends first
        stack.callback(pool.shutdown, cancel_futures=True)
        stack.callback(theirs.close)
        stack.callback(ours.close)
        try:
            with uninterrupted():  # a process without what it is to do would be waited for without end
                answers = [pool.submit(work, *arguments) for arguments in calls]
            for each in answers:
                yield each.result()
        except BrokenProcessPool:
            raise UserError(
                "a process that computes was ended, perhaps for lack of memory; choose fewer with --workers"
            ) from None


def _end_with(pipe: Connection) -> None:
    """End this process when the other end of ``pipe`` is closed."""

    def wait() -> None:
        with contextlib.suppress(EOFError, OSError):
            pipe.recv_bytes()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
