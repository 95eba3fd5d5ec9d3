"""A folder of folders of files, written so that no name and no symbolic link leads out of it."""

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from fedpriv.errors import UserError

_PART = ".part"
_OPEN_FOLDERS = 128
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Tree:
    """``root/<folder>/<file>``, held by one process at a time.

    Guarantee:
        * A file under its name is whole, for a process that is killed at any moment: it is written as
          ``root/.part`` and renamed.
        * Folders are opened relative to ``root`` without following links, files replace links.
        * What is made here only its owner can read: it may be faces.
    """

    def __init__(self, root: Path) -> None:
        """Make ``root`` if it is missing, open and lock it.

        Raises:
            UserError: when ``root`` cannot be made or written, or another process holds it.
        """
        self.root = root
        try:
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise UserError(
                f"{root}: {error.strerror or error}; name a folder that you may write to"
            ) from error
        self._folders: dict[str, int] = {}
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self.close()
            raise UserError(f"{root}: another process is writing there; wait for its end") from error

    def close(self) -> None:
        """Close everything and release the lock."""
        for descriptor in (*self._folders.values(), self.descriptor):
            os.close(descriptor)
        self._folders.clear()

    def __enter__(self) -> "Tree":
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def names(self) -> set[str]:
        """Return what lies in ``root``."""
        return set(os.listdir(self.descriptor))  # noqa: PTH208 - by descriptor

    def size(self, folder: str, name: str) -> int | None:
        """Return the length of a regular file in bytes; None if there is none."""
        try:
            found = os.stat(name, dir_fd=self._open(folder, make=False), follow_symlinks=False)
        except FileNotFoundError:
            return None
        return found.st_size if found.st_mode & 0o170000 == 0o100000 else None

    def write(self, folder: str, name: str, content: bytes) -> None:
        """Put ``content`` under ``root/folder/name``, in place of what may be there.

        Raises:
            UserError: when a link or file is in the way of the folder, a folder in the way of the file,
                or the disk is full.
        """
        with self._blaming(folder, name):
            target = self._folders.get(folder)
            if target is None:
                target = self._open(folder, make=True)
            try:
                descriptor = os.open(_PART, _NEW, 0o600, dir_fd=self.descriptor)
            except FileExistsError:
                self.tidy()
                descriptor = os.open(_PART, _NEW, 0o600, dir_fd=self.descriptor)
            try:
                written = os.write(descriptor, content)
                while written < len(content):
                    written += os.write(descriptor, content[written:])
            except OSError:
                self.tidy()
                raise
            finally:
                os.close(descriptor)
            os.rename(_PART, name, src_dir_fd=self.descriptor, dst_dir_fd=target)

    def tidy(self) -> None:
        """Remove what a killed process may have left half-written; a folder of that name is not ours."""
        with contextlib.suppress(FileNotFoundError, IsADirectoryError):
            os.unlink(_PART, dir_fd=self.descriptor)

    def _open(self, folder: str, make: bool) -> int:
        known = self._folders.get(folder)
        if known is not None:
            return known
        with self._blaming(folder, ""):
            try:
                descriptor = os.open(folder, _FOLDER, dir_fd=self.descriptor)
            except FileNotFoundError:
                if not make:
                    raise
                os.mkdir(folder, 0o700, dir_fd=self.descriptor)
                descriptor = os.open(folder, _FOLDER, dir_fd=self.descriptor)
        if len(self._folders) >= _OPEN_FOLDERS:
            os.close(self._folders.pop(next(iter(self._folders))))
        self._folders[folder] = descriptor
        return descriptor

    @contextlib.contextmanager
    def _blaming(self, folder: str, name: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise
        except FileExistsError as error:
            raise UserError(f"{self.root / _PART}: a folder where a file must be; remove it") from error
        except OSError as error:
            if error.errno in (errno.ENOTDIR, errno.ELOOP):
                raise UserError(
                    f"{self.root / folder}: a link or file where a folder must be; remove it"
                ) from error
            raise UserError(
                f"{self.root / folder / name}: {error.strerror or error}; mend it and run again"
            ) from error
