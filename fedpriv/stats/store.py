"""The server's files: uploads under way, encrypted tables, results. All of it may be seen by anybody."""

import os
import secrets
import threading
import time
from contextlib import suppress
from pathlib import Path

from fedpriv.errors import UserError
from fedpriv.he.key_files import sync_folder
from fedpriv.he.tables.computing import MOST_CIPHERTEXTS, table_head
from fedpriv.he.users.cipher_reading import open_ciphers
from fedpriv.he.users.public_keys import PublicKeys
from fedpriv.stats.protocol import NUMBER

MOST_UPLOADS = 64
UPLOAD_S = 3600.0
"""After so long without a part an upload is forgotten."""


class NotThere(UserError):
    """There is no such upload, table or result."""


class OutOfPlace(UserError):
    """A part of an upload that is not the next one."""


class StoreFull(UserError):
    """No room is left."""


class TableStore:
    """Tables in a folder, each complete and checked or not there; safe for threads, for one process.

    Guarantee:
        - A table is kept only when it is whole, under the server's key, and signature or checksum hold.
        - Names are the server's, 32 hexadecimal digits: nothing from outside is ever part of a path.
        - All files together stay within ``most_bytes``.

    Attributes:
        keys: the only ones that tables may be under.
    """

    def __init__(self, folder: Path, keys: PublicKeys, most_bytes: int) -> None:
        """Make the folders; what a crash left of uploads is removed.

        Raises:
            UserError: when they cannot be made.
        """
        self.keys, self._most_bytes, self._lock = keys, most_bytes, threading.Lock()
        self._uploads, self._tables, self.results = (
            folder / each for each in ("uploads", "tables", "results")
        )
        try:
            for each in (self._uploads, self._tables, self.results):
                each.mkdir(mode=0o700, parents=True, exist_ok=True)
            for left in self._uploads.iterdir():
                left.unlink()
        except OSError as error:
            raise UserError(f"{folder}: {error.strerror}; choose another --folder") from error

    def begin(self) -> str:
        """Return the number of a new upload.

        Raises:
            StoreFull: when too many are under way.
        """
        with self._lock:
            self._forget_old()
            if len(list(self._uploads.iterdir())) >= MOST_UPLOADS:
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
            size = path.stat().st_size
            if offset + len(part) == size:
                return size
            if offset != size:
                raise OutOfPlace(f"offset={offset}: {size} bytes are there; go on from them")
            self.require_room(len(part))
            with path.open("ab") as file:
                file.write(part)
            return size + len(part)

    def finish(self, number: str) -> str:
        """Check a whole upload and keep it as a table of that number; return the table's identity.

        Raises:
            NotThere: when there is no such upload.
            UserError: saying what is wrong with the table, which is forgotten.
        """
        path = self._upload(number)
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
        path.rename(self._tables / number)
        sync_folder(self._tables)
        return identity

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

    def require_room(self, more: int) -> None:
        """Refuse to store more than there is room for.

        Raises:
            StoreFull: then.
        """
        used = 0
        for folder in (self._uploads, self._tables, self.results):
            for path in folder.iterdir():
                with suppress(FileNotFoundError):
                    used += path.stat().st_size
        if used + more > self._most_bytes:
            raise StoreFull(f"the server keeps {used} bytes and has no room; delete tables")

    def _upload(self, number: str) -> Path:
        path = self._uploads / number
        if not NUMBER.fullmatch(number) or not path.is_file():
            raise NotThere(f"upload {number[:40]}: is not there; begin again")
        return path

    def _forget_old(self) -> None:
        for path in self._uploads.iterdir():
            with suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > UPLOAD_S:
                    path.unlink()
