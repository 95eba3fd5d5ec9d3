"""A folder for what must not outlive a run, such as its key: a leaf."""

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
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
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _sweep(base: Path) -> None:
    for folder in base.glob(f"{_PREFIX}*"):
        try:
            found = folder.stat(follow_symlinks=False)
            if found.st_uid != os.getuid() or time.time() - found.st_mtime < _YOUNG_S:
                continue
            lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            continue  # not one of ours, or just being made
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        except BlockingIOError:
            pass
        finally:
            os.close(lock)
