"""A folder for what must not outlive a run, such as its key: a leaf."""

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PREFIX = "fedpriv-"
_LOCK = "lock"
_YOUNG_S = 60.0
"""A folder this young may not have its lock yet."""


@contextmanager
def private_folder() -> Iterator[Path]:
    """Make a folder of mode 0700, in memory where there is shared memory, and remove it afterwards.

    Guarantee:
        - removed at the end of the block, however it ends short of kill -9;
        - what a killed process left is removed by the next call of the same user: a folder in
          use is recognised by its lock, which the system frees with the process.

    Edge cases:
        - killed while it removes the folder: the lock goes last, so what is left is found again, or empty.
    """
    shared = Path("/dev/shm")  # noqa: S108 - memory rather than disk; mkdtemp makes it private
    base = shared if os.access(shared, os.W_OK) else Path(tempfile.gettempdir())
    _sweep(base)
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=base))
    lock = os.open(folder / _LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder
    finally:
        _remove(folder)
        os.close(lock)


def _sweep(base: Path) -> None:
    for folder in base.glob(f"{_PREFIX}*"):
        try:
            found = folder.stat(follow_symlinks=False)
            if found.st_uid != os.getuid() or time.time() - found.st_mtime < _YOUNG_S:
                continue
            lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            with suppress(OSError):
                folder.rmdir()  # killed before there was a lock, or after; what holds anything is not ours
            continue
        except OSError:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _remove(folder)
        except BlockingIOError:
            pass
        finally:
            os.close(lock)


def _remove(folder: Path) -> None:
    """Remove what is in the folder, then its lock, then the folder."""
    with suppress(OSError):
        for path in folder.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            elif path.name != _LOCK:
                path.unlink(missing_ok=True)
        if [path.name for path in folder.iterdir()] == [_LOCK]:
            (folder / _LOCK).unlink()
        folder.rmdir()
