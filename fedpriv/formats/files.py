"""Open what others wrote, and write so that nothing half-written stands under its final name."""

import errno
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader, FileIO
from pathlib import Path
from typing import BinaryIO

from fedpriv.errors import FormatError, UserError

_BUFFER = 1 << 20
_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def open_input(path: Path, limit: int | None = None, root: Path | None = None) -> FileIO:
    """Open a regular file for unbuffered reading.

    Args:
        path: the file; pipes, devices and folders are refused.
        limit: the most bytes that it may have; None sets no limit.
        root: the folder that symbolic links may not lead out of; None lets them lead anywhere.

    Raises:
        FormatError: the file is missing, unreadable, no regular file, larger than ``limit``, or outside
            ``root``.
    """
    try:
        # a pipe would otherwise block before it can be refused
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise FormatError(path, None, f"cannot be read ({error.strerror}); check the file") from error
    except ValueError as error:
        raise FormatError(path, None, "is no file name; check the path") from error
    try:
        _check(path, os.fstat(descriptor), limit, root)
    except FormatError:
        os.close(descriptor)
        raise
    return FileIO(descriptor, "rb")


def _check(path: Path, status: os.stat_result, limit: int | None, root: Path | None) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise FormatError(path, None, "is no regular file; name a file")
    if limit is not None and status.st_size > limit:
        raise FormatError(path, None, f"{status.st_size} bytes, the limit is {limit}; check the file")
    if root is not None and not path.resolve().is_relative_to(root.resolve()):
        raise FormatError(path, None, f"a symbolic link that leaves {root}; copy the file into the folder")


def check_input(path: Path, limit: int, root: Path) -> None:
    """Refuse what :func:`open_input` refuses; for libraries that open a file by its name.

    Raises:
        FormatError: as :func:`open_input`.
    """
    open_input(path, limit, root).close()


def read_input(path: Path, limit: int, root: Path | None = None) -> bytes:
    """Return all bytes of a regular file of at most ``limit``.

    Raises:
        FormatError: as :func:`open_input`.
    """
    with BufferedReader(open_input(path, limit, root)) as file:
        return file.read(os.fstat(file.fileno()).st_size)


@contextmanager
def atomic_output(path: Path) -> Iterator[BinaryIO]:
    """Write ``path`` under a temporary name beside it; it gets its name when the block ends well.

    The file is synced before it is renamed, has mode 0600 (it may hold biometric data), and replaces a
    file of that name. When the block raises, nothing is left.

    Raises:
        UserError: the folder cannot be written to, or has not enough space.
    """
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); check its folder") from error
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb", buffering=_BUFFER) as file:
            yield file
            file.flush()
            os.fsync(descriptor)
        _rename(temporary, path)
    except OSError as error:
        if error.errno in _NO_SPACE:
            raise UserError(f"{path}: {error.strerror}; name a folder with more space") from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def _rename(temporary: Path, path: Path) -> None:
    try:
        temporary.replace(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); name another file") from error
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
