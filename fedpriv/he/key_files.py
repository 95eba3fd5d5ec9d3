"""Files that hold secrets: written whole and private, read with care for what they are."""

import contextlib
import os
import secrets
import stat
from pathlib import Path
from typing import BinaryIO

from fedpriv.errors import UserError

SHARED_KEY = "shared.key"
"""In the folders of clients and key holder, where they share one key."""
SHARE_FILE = "share.key"
"""In the folder of a committee's member: its share of the run's key."""
DRAFT_FILE = "share.draft"
"""The same while the key is being made, after the run's number and a dot."""


def write_private(
    path: Path, data: bytes, durable: bool = True, replace: bool = False, what: str = "key"
) -> None:
    """Write a new file, readable by its owner only.

    Guarantee:
        - The file has mode 0600 from its first byte, whatever the umask.
        - It appears under its name complete or not at all; nothing else is left behind.
        - An existing file is never replaced, not even one that appears during the writing.

    Edge cases:
        - ``durable=False`` leaves out the syncs: for what need not survive a crash of the machine.
        - ``replace=True`` puts it in the place of an existing file, at once.
        - Killed while it writes, it leaves a hidden ``.NAME.*``.

    Args:
        path: where; its folder must exist.
        data: the content.
        durable: sync file and folder to disk before returning.
        replace: an existing file.
        what: it is, for messages.

    Raises:
        UserError: when the file exists (without ``replace``) or cannot be written.
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
        if replace:
            temporary.rename(path)
        else:
            # A hard link fails where the name exists; a rename would replace what appeared meanwhile.
            os.link(temporary, path)
        if durable:
            sync_folder(path.parent)
    except FileExistsError as error:
        raise UserError(f"{path}: exists already; choose another name or move the old {what} away") from error
    except OSError as error:
        raise UserError(
            f"{path}: cannot write the {what}: {error.strerror}; choose a writable folder"
        ) from error
    finally:
        with contextlib.suppress(FileNotFoundError, PermissionError, NotADirectoryError):
            temporary.unlink()


def forget_share(folder: Path) -> None:
    """Delete a holder's share of a run's key, and what a kill while it was made has left of it.

    Raises:
        OSError: when something cannot be deleted; the rest is.
    """
    failed: OSError | None = None
    for pattern in (SHARE_FILE, f".{SHARE_FILE}.*", f"*.{DRAFT_FILE}", f".*.{DRAFT_FILE}.*"):
        for path in folder.glob(pattern):
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                failed = error
    if failed is not None:
        raise failed


def read_private(path: Path, max_bytes: int) -> bytes:
    """Read a whole file that its owner alone may access.

    Guarantee:
        - Kind, mode and size are those of the opened file, checked before a byte of it is read.

    Edge cases:
        - A file that group or others may access in any way is refused.
        - So is one in a folder where they could put another in its place, see :func:`require_unwritable`.
        - A file of more than ``max_bytes`` is refused.
        - A folder, a named pipe, a device and a missing file are refused at once.

    Raises:
        UserError: on each of these, and when the file cannot be read.
    """
    return _read(path, max_bytes, private=True)


def read_public(path: Path, max_bytes: int) -> bytes:
    """Read as :func:`read_private` does, whoever else may access the file."""
    return _read(path, max_bytes, private=False)


def require_unwritable(path: Path) -> None:
    """Refuse a file that others than its owner may change, or put another in the place of.

    Edge cases:
        - A folder that group or others may write counts, sticky or not: in a sticky one, such as
          ``/tmp``, anybody makes the file that is not there yet.
        - Of a link, its own folder and that of the file count.
        - Folders further up and lists of access rights (ACLs) are not looked at.

    Raises:
        UserError: naming what is writable.
        OSError: when one of them cannot be looked at.
    """
    for place in dict.fromkeys((path, path.parent, path.resolve().parent)):
        mode = stat.S_IMODE(place.stat().st_mode)
        if mode & 0o022:
            raise UserError(
                f"{place}: mode {mode:04o} lets others put another {path.name} there; run chmod go-w on it"
            )


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
            if private:
                require_unwritable(path)
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
