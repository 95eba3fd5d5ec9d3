"""The server's files: uploads under way, encrypted tables, results. All of it may be seen by anybody."""

import os
import re
import secrets
import threading
import time
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path

from fedpriv.errors import UserError
from fedpriv.he.key_files import sync_folder
from fedpriv.he.tables.computing import MOST_CIPHERTEXTS, table_head
from fedpriv.he.users.cipher_reading import CipherReader, open_ciphers
from fedpriv.he.users.public_keys import PublicKeys
from fedpriv.stats.protocol import NUMBER
from fedpriv.stats.room import Room, StoreFull

MOST_UPLOADS = 64
UPLOAD_S, WAITED_FOR_S = 3600.0, 120.0
"""After so long without a part an upload is forgotten; and when others wait for its place."""
_HALF = re.compile(rf"\.{NUMBER.pattern}\.[0-9a-f]{{16}}")


class NotThere(UserError):
    """There is no such upload, table or result."""


class OutOfPlace(UserError):
    """A part of an upload that is not the next one."""


class TableStore:
    """Tables in a folder, each complete and checked or not there; safe for threads, for one process.

    The folder must be held (:class:`~fedpriv.services.held_folder.HeldFolder`).

    Guarantee:
        - A table is kept only when it is whole, under the server's key, and signature or checksum hold.
        - Names are the server's, 32 hexadecimal digits: nothing from outside is ever part of a path.
        - All files together stay within ``most_bytes``.
        - Of what is in the folder, nothing is deleted but regular files of such names.

    Attributes:
        keys: the only ones that tables may be under.
        results: folder of results.
        room: for all files.
    """

    def __init__(self, folder: Path, keys: PublicKeys, most_bytes: int) -> None:
        """Make the folders; what a crash left of uploads is removed.

        Raises:
            UserError: when they cannot be made.
        """
        self.keys, self._lock = keys, threading.Lock()
        self._checks: dict[str, Future[str]] = {}
        folders = [folder / each for each in ("uploads", "tables", "results")]
        self._uploads, self._tables, self.results = folders
        self.room = Room(folders[:2], self.results, most_bytes)
        try:
            for each in folders:
                each.mkdir(mode=0o700, parents=True, exist_ok=True)
            for left in numbered(self._uploads):
                left.unlink()
        except OSError as error:
            raise UserError(f"{folder}: {error.strerror}; choose another --folder") from error

    def begin(self) -> str:
        """Return the number of a new upload.

        Raises:
            StoreFull: when too many are under way.
        """
        with self._lock:
            self._forget(UPLOAD_S)
            if len(numbered(self._uploads)) >= MOST_UPLOADS:
                self._forget(WAITED_FOR_S)
            if len(numbered(self._uploads)) >= MOST_UPLOADS:
                raise StoreFull(f"{MOST_UPLOADS} uploads are under way; come again")
            number = secrets.token_hex(16)
            (self._uploads / number).touch(mode=0o600)
            return number

    def append(self, number: str, offset: int, part: bytes) -> int:
        """Append a part; return the bytes that are there now.

        Edge cases:
            - A part that is there already, sent again, changes nothing.

        Raises:
            NotThere: when there is no such upload.
            OutOfPlace: when ``offset`` is neither its end nor that of a part sent again.
            StoreFull: when there is no room.
        """
        with self._lock:
            path = self._upload(number)
            if number in self._checks:
                raise OutOfPlace(f"upload {number}: is being checked; it takes no more parts")
            size = path.stat().st_size
            if 0 <= offset == size - len(part):
                return size
            if offset != size:
                raise OutOfPlace(f"offset={offset}: {size} bytes are there; go on from them")
            self.room.promise(len(part))
            try:
                with path.open("ab") as file:
                    file.write(part)
            except OSError as error:
                os.truncate(path, size)
                raise StoreFull(f"the server cannot keep more: {error.strerror}; come again") from error
            finally:
                self.room.take_back(len(part))
            return size + len(part)

    def finish(self, number: str) -> str:
        """Check a whole upload and keep it as a table of that number; return the table's identity.

        Edge cases:
            - Asked again, because the answer was lost or has not come, it gives the same answer.

        Raises:
            NotThere: when there is no such upload.
            UserError: saying what is wrong with the table, which is forgotten.
        """
        ours: Future[str] = Future()
        with self._lock:
            if NUMBER.fullmatch(number) and (self._tables / number).is_file():
                return self._identity(self._tables / number)
            path = self._upload(number)
            check = self._checks.setdefault(number, ours)
        if check is ours:
            try:
                ours.set_result(self._keep(path))
            except BaseException as error:
                ours.set_exception(error)
            with self._lock:
                del self._checks[number]
        return check.result()

    def table(self, number: str) -> Path:
        """Return the file of a table.

        Raises:
            NotThere: when there is none of that number.
        """
        path = self._tables / number
        if not NUMBER.fullmatch(number) or not path.is_file():
            raise NotThere(f"table {number[:40]}: is not there; upload it")
        return path

    def delete(self, number: str) -> None:
        """Delete a table.

        Raises:
            NotThere: when there is none of that number.
        """
        self.table(number).unlink(missing_ok=True)

    def _keep(self, path: Path) -> str:
        try:
            with open_ciphers(path, self.keys, most=MOST_CIPHERTEXTS) as reader:
                _, identity = table_head("table", reader)
                for _ in reader.bodies():
                    pass
        except UserError as error:
            path.unlink(missing_ok=True)
            raise UserError(str(error).replace(str(path), "table")) from error
        with path.open("rb") as file:
            os.fsync(file.fileno())
        path.rename(self._tables / path.name)
        sync_folder(self._tables)
        return identity

    def _identity(self, path: Path) -> str:
        with path.open("rb") as file:
            reader = CipherReader(file, self.keys, source="table", most=MOST_CIPHERTEXTS)
            return table_head("table", reader)[1]

    def _upload(self, number: str) -> Path:
        path = self._uploads / number
        if not NUMBER.fullmatch(number) or not path.is_file():
            raise NotThere(f"upload {number[:40]}: is not there; begin again")
        return path

    def _forget(self, seconds: float) -> None:
        for path in numbered(self._uploads):
            with suppress(FileNotFoundError):
                if path.name not in self._checks and time.time() - path.stat().st_mtime > seconds:
                    path.unlink()


def numbered(folder: Path, halves: bool = False) -> list[Path]:
    """Return the files of a folder that this server made: regular, and named by its numbers.

    Args:
        folder: that is looked at.
        halves: whether hidden ones, half written, are meant, too.
    """
    found = []
    for path in folder.iterdir():
        hidden = halves and _HALF.fullmatch(path.name)
        if (hidden or NUMBER.fullmatch(path.name)) and path.is_file() and not path.is_symlink():
            found.append(path)
    return found
