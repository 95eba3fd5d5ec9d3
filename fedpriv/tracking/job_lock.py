"""Who may compute a job now: a lock for each, shared by all processes that log to one store."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fedpriv.errors import UserError
from fedpriv.tracking.store import Location

_SHORTEST_KEY = 15


@contextmanager
def job_lock(location: Location, key: str, wait: bool = True) -> Iterator[None]:
    """Let one process at a time have what has this ``key`` in the block. The lock is freed with its holder.

    A lock of one byte of ``<database>.jobs``, at the place that the key names: nothing is left to clear away.
    For a server it is of a file in the user's cache, which keeps apart the processes that share that.

    Edge cases:
        Locks are the process's: two threads of one are not kept apart, and the first to leave frees both.

    Args:
        location: of the store.
        key: at least 15 hexadecimal digits.
        wait: for another process to free it.

    Raises:
        BlockingIOError: when another process has it, and there is no waiting.
        UserError: when there is no writing beside the database.
        ValueError: when the key is none.
    """
    place, path = int(plain_key(key)[:_SHORTEST_KEY], 16), _file(location)
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}; choose a folder you can write to") from error
    try:
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB), 1, place)
        except PermissionError as error:  # what some systems say where others would block
            raise BlockingIOError(*error.args) from error
        yield
    finally:
        os.close(descriptor)


def is_free(location: Location, key: str) -> bool:
    """Tell whether no other process has what has this ``key`` now."""
    try:
        with job_lock(location, key, wait=False):
            return True
    except BlockingIOError:
        return False


def plain_key(key: str) -> str:
    """Return a key, which can stand in a filter of MLflow.

    Raises:
        ValueError: when it holds anything but hexadecimal digits, or too few.
    """
    if not (key.isascii() and key.isalnum() and len(key) >= _SHORTEST_KEY):
        raise ValueError("a key is at least 15 hexadecimal digits")
    int(key, 16)
    return key


def _file(location: Location) -> Path:
    if location.database is not None:
        return location.database.with_name(f"{location.database.name}.jobs")
    base = os.environ.get("FEDPRIV_CACHE", "")
    folder = Path(base) if base else Path.home() / ".cache" / "fedpriv"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder / "jobs"
