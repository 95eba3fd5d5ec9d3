"""Files that hold secrets: written whole and private, read with care for what they are."""

import contextlib
import os
import secrets
import stat
from pathlib import Path
from typing import BinaryIO

from fedpriv.errors import UserError


def write_private(path: Path, data: bytes, durable: bool = True) -> None:
    """Write a new file, readable by its owner only.

    Guarantee:
        - The file has mode 0600 from its first byte, whatever the umask.
        - It appears under its name complete or not at all; nothing else is left behind.
        - An existing file is never replaced, not even one that appears during the writing.

    Edge cases:
        - ``durable=False`` leaves out the syncs: for what need not survive a crash of the machine.

    Args:
        path: where; its folder must exist.
        data: the content.
        durable: sync file and folder to disk before returning.

    Raises:
        UserError: when the file exists or cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, 0o600)
            file.write(data)
            file.flush()
            if durable:
                os.fsync(descriptor)
        # A hard link fails where the name exists; a rename would replace what appeared meanwhile.
        os.link(temporary, path)
        if durable:
            sync_folder(path.parent)
    except FileExistsError as error:
        raise UserError(f"{path}: exists already; choose another name or move the old key away") from error
    except OSError as error:
        raise UserError(
            f"{path}: cannot write the key: {error.strerror}; choose a writable folder"
        ) from error
    finally:
        with contextlib.suppress(FileNotFoundError, PermissionError, NotADirectoryError):
            temporary.unlink()


def read_private(path: Path, max_bytes: int) -> bytes:
    """Read a whole file that its owner alone may access.

    Guarantee:
        - Kind, mode and size are those of the opened file, checked before a byte of it is read.

    Edge cases:
        - A file that group or others may access in any way is refused.
        - A file of more than ``max_bytes`` is refused.
        - A folder, a named pipe, a device and a missing file are refused at once.

    Raises:
        UserError: on each of these, and when the file cannot be read.
    """
    return _read(path, max_bytes, private=True)


def read_public(path: Path, max_bytes: int) -> bytes:
    """Read as :func:`read_private` does, whoever else may access the file."""
    return _read(path, max_bytes, private=False)


def sync_folder(folder: Path) -> None:
    """Make a new name in ``folder`` survive a crash."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read(path: Path, max_bytes: int, private: bool) -> bytes:
    try:
        # Non-blocking, so that a named pipe is refused and not waited for.
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            _check(path, file, max_bytes, private)
            return file.read(max_bytes)
    except OSError as error:
        what = "key" if private else "file"
        raise UserError(f"{path}: cannot read the {what}: {error.strerror}; name another") from error


def _check(path: Path, file: BinaryIO, max_bytes: int, private: bool) -> None:
    status = os.fstat(file.fileno())
    if not stat.S_ISREG(status.st_mode):
        raise UserError(f"{path}: not a regular file; name the file itself")
    if private and status.st_mode & 0o077:
        mode = stat.S_IMODE(status.st_mode)
        raise UserError(f"{path}: mode {mode:04o} lets others read the key; run chmod 600 on it")
    if status.st_size > max_bytes:
        raise UserError(f"{path}: {status.st_size} bytes, at most {max_bytes} expected; name another file")
