"""The files of a gallery: received in ``inbox/``, counted in ``segments/`` when the journal names them."""

import hashlib
import os
import stat
from collections.abc import Collection
from pathlib import Path

from fedpriv.errors import UserError
from fedpriv.he.matching.members import Segment
from fedpriv.he.matching.places import Place
from fedpriv.journal import sync_folder


class SegmentFiles:
    """Two folders on one disk.

    Attributes:
        inbox: for files on their way.
    """

    def __init__(self, folder: Path) -> None:
        """Name the folder that both are in."""
        self.inbox, self._segments = folder / "inbox", folder / "segments"

    def make(self) -> None:
        """Make the two folders, for the owner of the process only."""
        for folder in (self.inbox, self._segments):
            folder.mkdir(mode=0o700, exist_ok=True)

    def path_of(self, segment: Segment) -> Path:
        """Return where the file of a segment is."""
        return self._segments / segment.file

    def described(self, path: Path, place: Place, signed: bool, plain: bool) -> Segment:
        """Sync a file, make it the owner's of the process only, and return the segment that it is."""
        with path.open("rb") as file:
            os.fchmod(file.fileno(), 0o600)
            os.fsync(file.fileno())
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            size = os.fstat(file.fileno()).st_size
        return Segment(digest, size, place, signed, plain)

    def move(self, path: Path, segment: Segment) -> None:
        """Move a file among the segments, its name there on disk before this returns.

        It stays there even if the journal's line fails: one that could not be synced may count all the
        same.

        Raises:
            UserError: when it cannot be moved, such as from another disk.
        """
        try:
            path.rename(self.path_of(segment))
            sync_folder(self._segments)
        except OSError as error:
            raise UserError(f"{path}: cannot be moved to {self._segments}: {error.strerror}") from error

    def check(self, segments: Collection[Segment]) -> None:
        """Refuse a folder in which a file is missing or of another size; contents are checked when loaded.

        Raises:
            UserError: naming the file.
        """
        for segment in segments:
            path = self.path_of(segment)
            try:
                size = path.stat(follow_symlinks=False).st_size
            except OSError as error:
                raise UserError(f"{path}: {error.strerror}; restore it from a copy") from error
            if size != segment.size:
                raise UserError(f"{path}: {size} bytes, {segment.size} expected; restore it from a copy")

    def require_private(self, segments: Collection[Segment]) -> None:
        """Refuse templates in clear that others than the owner of the process may read.

        Raises:
            UserError: naming the folder or file.
        """
        folders = (self.inbox.parent, self.inbox, self._segments)
        for path in (*folders, *(self.path_of(each) for each in segments)):
            mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else 0
            if mode & 0o077:
                raise UserError(f"{path}: mode {mode:04o} lets others at faces in clear; run chmod go= on it")

    def sweep(self, segments: Collection[Segment], inbox: bool = False) -> None:
        """Remove every file that is none of these segments', and with ``inbox`` what was being received."""
        known = {each.file for each in segments}
        for path in self._segments.iterdir():
            if path.name not in known:
                path.unlink(missing_ok=True)
        for path in self.inbox.iterdir() if inbox else ():
            path.unlink(missing_ok=True)
