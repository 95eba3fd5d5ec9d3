"""Encrypted references on disk: whole versions of parts, each part as its owner signed it.

``FOLDER/<fingerprint of the key>/<name>/<made>-<parts>/<part>.fpct``. A version counts when all its parts are
there; of those the latest does. The files hold nothing but ciphertexts, their sizes and names.
"""

import os
import re
import secrets
import shutil
import threading
from contextlib import suppress
from pathlib import Path

from fedpriv.errors import UserError
from fedpriv.he.key_files import sync_folder
from fedpriv.imagediff.protocol import ReferenceHead
from fedpriv.services.held_folder import HeldFolder

_KEY = re.compile(r"[0-9a-f]{64}")
_VERSION = re.compile(r"\d+-\d+")
_GONE = re.compile(r"\.\d+-\d+\.[0-9a-f]{8}")
_UNWRITTEN = re.compile(r"\.\d+\.fpct\.[0-9a-f]{16}")


class NoReference(UserError):
    """There is no such reference, or no longer this version of it."""


class Outdated(UserError):
    """There is a later version already."""


class StoreFull(UserError):
    """What a store may hold is reached, or the disk takes no more."""


class ReferenceStore:
    """Keeps references in a folder of its own; safe to use from several threads of one process.

    Guarantee:
        - A part appears complete and synced to disk, or not at all. Until the last part of a new version is
          there, the one before it stays what is compared with; a crash at any point leaves one of the two.
        - No more than ``most_bytes`` are kept, unfinished versions included.
        - Nothing is deleted in a folder that was not made for references, nor of a name not given here.

    Edge cases:
        - Of one reference only one unfinished version is kept: the next one to begin takes its place.
    """

    def __init__(self, folder: Path, most_bytes: int, wait_s: float = 0.0) -> None:
        """Open or create a folder, held until :meth:`close` or the end, and clear away what a crash left.

        Args:
            folder: of references and nothing else.
            most_bytes: that are kept.
            wait_s: how long to wait for another process that has the folder, in seconds, before refusing.

        Raises:
            UserError: when it cannot be used, see :class:`~fedpriv.services.held_folder.HeldFolder`.
        """
        self._folder, self._most, self._lock = folder, most_bytes, threading.RLock()
        self._held = HeldFolder(folder, "imagediff", "--store", wait_s)
        try:
            keys = [path for path in folder.iterdir() if _KEY.fullmatch(path.name)]
            for place in [place for key in keys for place in key.iterdir()]:
                for version in place.iterdir():
                    if _GONE.fullmatch(version.name):
                        shutil.rmtree(version)
                    elif _VERSION.fullmatch(version.name):
                        for part in version.iterdir():
                            if _UNWRITTEN.fullmatch(part.name):
                                part.unlink()
            self._bytes = sum(path.stat().st_size for key in keys for path in key.glob("*/*/*"))
        except OSError as error:
            self._held.close()
            raise UserError(
                f"{folder}: cannot be used ({error.strerror}); name another with --store"
            ) from error

    def close(self) -> None:
        """Let another process have the folder; the store is not used after this."""
        self._held.close()

    def add(self, key: str, head: ReferenceHead, body: bytes) -> bool:
        """Keep one part, and tell whether its version is complete with it.

        Args:
            key: fingerprint, checked.
            head: of the part, checked.
            body: the cipher set, checked.

        Raises:
            Outdated: when there is a version that is as new.
            StoreFull: when there is no room, or it cannot be written.
        """
        with self._lock:
            place = self._folder / key / head.name
            current = self._current(place)
            if current is not None and current.name == f"{head.made}-{head.parts}":
                return True  # sent again, because the answer was lost
            if current is not None and _made(current) >= head.made:
                raise Outdated(
                    f"reference {head.name}: there is one made at the same time or later; make it anew"
                )
            version = place / f"{head.made}-{head.parts}"
            for other in self._versions(place):
                if other not in (version, current):
                    self._remove(other)
            if self._bytes + len(body) > self._most:
                raise StoreFull(f"reference {head.name}: the store holds {self._bytes} of {self._most} bytes")
            try:
                self._write(version / f"{head.part}.fpct", body)
            except OSError as error:
                raise StoreFull(f"reference {head.name}: cannot be kept ({error.strerror})") from error
            if not _complete(version):
                return False
            if current is not None:
                self._remove(current)
            return True

    def part(self, key: str, name: str, part: int, made: int | None = None) -> bytes:
        """Return one part of the current version.

        Args:
            key: fingerprint.
            name: of the reference, checked.
            part: which.
            made: the version that is meant; None for the current one.

        Raises:
            NoReference: there is none, not of that version, or no such part.
        """
        with self._lock:
            current = self._current(self._folder / key / name)
            if current is None:
                raise NoReference(f"reference {name}: none of that name under this key; store one first")
            if made is not None and _made(current) != made:
                raise NoReference(f"reference {name}: was replaced meanwhile; ask again")
            try:
                return (current / f"{part}.fpct").read_bytes()
            except OSError as error:
                raise NoReference(f"reference {name}: has no part {part}") from error

    def forget(self, key: str, name: str, made: int) -> None:
        """Delete a reference.

        Raises:
            NoReference: as :meth:`part`.
        """
        with self._lock:
            self.part(key, name, 0, made)
            for version in self._versions(self._folder / key / name):
                self._remove(version)
            with suppress(OSError):
                (self._folder / key / name).rmdir()

    def _versions(self, place: Path) -> list[Path]:
        return [path for path in place.glob("*-*") if not path.name.startswith(".")]

    def _current(self, place: Path) -> Path | None:
        return max(filter(_complete, self._versions(place)), key=_made, default=None)

    def _write(self, path: Path, body: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        before = path.stat().st_size if path.exists() else 0
        try:
            with temporary.open("xb") as file:
                file.write(body)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        for folder in (path.parent, path.parent.parent, path.parent.parent.parent):
            sync_folder(folder)
        self._bytes += len(body) - before

    def _remove(self, version: Path) -> None:
        """Take a version away at once, then its bytes."""
        gone = version.with_name(f".{version.name}.{secrets.token_hex(4)}")
        version.rename(gone)
        self._bytes -= sum(path.stat().st_size for path in gone.iterdir())
        shutil.rmtree(gone)


def _made(version: Path) -> int:
    return int(version.name.partition("-")[0])


def _complete(version: Path) -> bool:
    parts = int(version.name.partition("-")[2])
    return all((version / f"{part}.fpct").is_file() for part in range(parts))
