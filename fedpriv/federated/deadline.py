"""A client's own time, enforced where it runs."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class ClientTimeout(BaseException):
    """A client used up its time. Not an Exception, so that no client code swallows it."""


@contextmanager
def deadline(seconds: float | None) -> Iterator[None]:
    """Raise :class:`ClientTimeout` in the block after ``seconds``, by SIGALRM.

    Works in a process's main thread only; elsewhere, and for None, the block has all the time.
    """
    if seconds is None or threading.current_thread() is not threading.main_thread():
        yield
        return

    def expire(_signal: int, _frame: object) -> None:
        raise ClientTimeout

    previous = signal.signal(signal.SIGALRM, expire)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
