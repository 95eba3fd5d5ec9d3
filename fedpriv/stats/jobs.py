"""Results that are being computed, one after the other, and those that are done."""

import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

from fedpriv.errors import UserError
from fedpriv.stats.protocol import NUMBER
from fedpriv.stats.room import Room, StoreFull
from fedpriv.stats.store import NotThere, numbered

MOST_WAITING = 16
MOST_KEPT = 64


class Jobs:
    """Runs work that writes one file each; a single thread, which may start processes.

    Guarantee:
        - At most :data:`MOST_WAITING` are not done; of those done the newest :data:`MOST_KEPT` are kept, and
          fewer where there is no room: the oldest goes first.
        - A result that is begun has the room that it needs.
    """

    def __init__(self, folder: Path, room: Room) -> None:
        """Write to ``folder``, where results of earlier runs of the server are deleted."""
        self._folder, self._room, self._lock = folder, room, threading.Lock()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="stats")
        self._known: OrderedDict[str, Future[object]] = OrderedDict()
        for left in numbered(folder, halves=True):
            left.unlink()
        room.give_up = self._forget_oldest

    def add(self, work: Callable[[Path], object], size: int) -> str:
        """Have ``work`` write its result to the path that it is given; return the result's number.

        Args:
            work: to be done.
            size: of the result, at most.

        Raises:
            StoreFull: when too many wait, or there is no room for the result.
        """
        self._room.promise(size)
        try:
            with self._lock:
                if sum(not each.done() for each in self._known.values()) >= MOST_WAITING:
                    raise StoreFull(f"{MOST_WAITING} results are being computed; come again")
                while len(self._known) >= MOST_KEPT + MOST_WAITING:
                    oldest = next(name for name, each in self._known.items() if each.done())
                    self._forget(oldest)
                number = secrets.token_hex(16)
                self._known[number] = self._thread.submit(self._do, work, self._folder / number, size)
                return number
        except BaseException:
            self._room.take_back(size)
            raise

    def result(self, number: str) -> BinaryIO | None:
        """Return the opened file of a result, to be closed by the caller; None while it is computed.

        Raises:
            NotThere: when there is none of that number.
            UserError: what was wrong with the tables.
        """
        with self._lock:
            job = self._known.get(number) if NUMBER.fullmatch(number) else None
            if job is None or job.cancelled():
                raise NotThere(f"result {number[:40]}: is not there; ask for it again")
            if not job.done():
                return None
            if (error := job.exception()) is not None:
                raise error
            # once it is open, it may be deleted
            return (self._folder / number).open("rb")

    def delete(self, number: str) -> None:
        """Delete a result that is done; one under way goes on.

        Raises:
            NotThere: when there is none of that number, or it is not done.
        """
        with self._lock:
            job = self._known.get(number)
            if job is None or not job.done():
                raise NotThere(f"result {number[:40]}: is not there")
            self._forget(number)

    def close(self) -> None:
        """Wait for the one under way; the others are given up."""
        self._thread.shutdown(cancel_futures=True)

    def _do(self, work: Callable[[Path], object], path: Path, size: int) -> None:
        try:
            work(path)
        finally:
            self._room.take_back(size)

    def _forget_oldest(self) -> bool:
        with self._lock:
            for number, job in self._known.items():
                if job.done() and (self._folder / number).exists():
                    self._forget(number)
                    return True
        return False

    def _forget(self, number: str) -> None:
        del self._known[number]
        (self._folder / number).unlink(missing_ok=True)


def fault(error: UserError, folder: Path) -> str:
    """Return what may be told of an error: no path of the server."""
    return str(error).replace(f"{folder}/", "").replace(str(folder), "")
