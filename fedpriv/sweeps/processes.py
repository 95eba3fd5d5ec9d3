"""Which process launched a sweep, and that no job outlives it."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_POLL_S = 0.5
_GRACE_S = 30.0
"""Within this time a job puts its keys and its workers away, or it is killed."""


@dataclass(frozen=True)
class Process:
    """A process of one machine since it was started; its number alone is given away again.

    Attributes:
        machine: changes with every start of the system.
        pid: its number.
        started: clock ticks since the system was started.
    """

    machine: str
    pid: int
    started: int

    @classmethod
    def own(cls) -> "Process":
        """Return this one."""
        pid = os.getpid()
        return cls(_machine(), pid, _started(pid) or 0)

    @property
    def is_here(self) -> bool:
        """Whether it is of this machine."""
        return self.machine == _machine()

    @property
    def lives(self) -> bool:
        """Whether it is still there; what is on another machine is taken to be."""
        return not self.is_here or _started(self.pid) == self.started


def end(processes: list[Process], patience_s: float) -> None:
    """Ask processes of this machine to end (SIGTERM), and wait for it at most ``patience_s``."""
    ours = [each for each in processes if each.is_here and each.lives and each.pid != os.getpid()]
    for process in ours:
        try:
            os.kill(process.pid, signal.SIGTERM)
        except (ProcessLookupError, PermissionError):
            continue
    until = time.monotonic() + patience_s
    while any(each.lives for each in ours) and time.monotonic() < until:
        time.sleep(0.05)


@contextmanager
def ending_first(others: Callable[[], list[Process]], patience_s: float) -> Iterator[None]:
    """On SIGINT and SIGTERM in the block, ask other processes to end before this one is left.

    They are given the time to put their keys away, before they are ended by force. The signals' handlers are
    put back after the block; outside of the main thread, which alone may set them, nothing is done.

    Args:
        others: asked when it is time.
        patience_s: that they are waited for.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: object) -> None:
        end(others(), patience_s)
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        sys.exit(128 + number)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


_followed: set[Process] = set()


def follow(launcher: Process) -> None:
    """End this process when ``launcher`` has ended, however it did: by SIGTERM, and by force if need be.

    A process that is used for many jobs follows its launcher between them, too. One that runs elsewhere, or
    is this one, is not followed.
    """
    if not launcher.is_here or launcher.pid == os.getpid() or launcher in _followed:
        return
    _followed.add(launcher)
    threading.Thread(target=_watch, args=(launcher,), name="follow-launcher", daemon=True).start()


def _watch(launcher: Process) -> None:
    while launcher.lives:
        time.sleep(_POLL_S)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_GRACE_S)
    os.kill(os.getpid(), signal.SIGKILL)


def _machine() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _started(pid: int) -> int | None:
    """Return when a process was started, None for one that is gone or only waits to be reaped."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in ("Z", "X") else int(fields[19])
