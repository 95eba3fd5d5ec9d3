"""How many bytes a server keeps at most, those that it has promised to keep included."""

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from fedpriv.errors import UserError


class StoreFull(UserError):
    """No room is left."""


class Room:
    """Counts the files of some folders and what is promised to be written; safe for threads.

    Guarantee:
        - Files and promises together stay within ``most_bytes``, as long as nobody writes more than promised.

    Edge cases:
        - Hidden files are half written: they are counted by their promise.

    Attributes:
        give_up: deletes one file of ``spare``, and tells whether there was any.
    """

    def __init__(self, kept: Sequence[Path], spare: Path, most_bytes: int) -> None:
        """Promise nothing yet.

        Args:
            kept: folders of files that stay.
            spare: folder of files that can be made again, and make way.
            most_bytes: of all.
        """
        self._kept, self._spare, self._most, self._promised = tuple(kept), spare, most_bytes, 0
        self._lock = threading.Lock()
        self.give_up: Callable[[], bool] = lambda: False

    def promise(self, more: int) -> None:
        """Keep ``more`` bytes free until :meth:`take_back`.

        Raises:
            StoreFull: when there is no room for them even with all given up; then nothing is.
        """
        with self._lock:
            stays = sum(map(_used, self._kept)) + self._promised
            # nothing makes way for what has no room anyway
            while stays + _used(self._spare) + more > self._most:
                if stays + more > self._most or not self.give_up():
                    raise StoreFull(
                        f"the server keeps or expects {stays} bytes: no room for {more} in {self._most}; "
                        f"delete tables"
                    )
            self._promised += more

    def take_back(self, more: int) -> None:
        """Free what was promised: it is written, or will not be."""
        with self._lock:
            self._promised -= more


def _used(folder: Path) -> int:
    used = 0
    for path in folder.iterdir():
        if not path.name.startswith("."):
            with suppress(FileNotFoundError):
                used += path.stat(follow_symlinks=False).st_size
    return used
