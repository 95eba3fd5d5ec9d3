"""One session's window, open sets and closed images at the server: plain bookkeeping, no cryptography."""

from dataclasses import dataclass, field

from fedpriv.sharing.admission import ServerSession
from fedpriv.sharing.schedule import Slot


@dataclass(slots=True)
class OpenSet:
    """What has come of one image.

    Attributes:
        slot: its place in the schedule.
        commitment: of the first share; the others must have the same.
        salt: likewise.
        tags: tag of each authentic share by its number, to know a copy.
        shares: the shares themselves, fewer than t; none once the set was complete.
        computing: complete, and no answer yet.
    """

    slot: Slot
    commitment: bytes
    salt: bytes
    tags: dict[int, bytes] = field(default_factory=dict)
    shares: dict[int, bytes] = field(default_factory=dict)
    computing: bool = False


class HeldSession:
    """A session with its window of W image ids.

    Accepted are the numbers in [low, low + W). When the first authentic share of image i comes, low
    becomes max(low, i - W/2 + 1): the window follows the traffic, and one lost image does not stop it.
    Numbers that are passed over unseen are closed. A set that is open stays open behind the window.

    Guarantee:
        - A closed number never opens again.
        - It remembers a few W ids, and ``max_closed`` closed ones more.

    Attributes:
        session: keys and terms.
        low: lower edge of the window.
        used_ms: when the last new share came.
        sets: open sets by number.
    """

    def __init__(self, session: ServerSession, now_ms: int, max_closed: int) -> None:
        """Open the window at image 0."""
        self.session, self.used_ms = session, now_ms
        self.low = 0
        self.sets: dict[int, OpenSet] = {}
        self._window, self._max_closed = session.terms.window, max_closed
        self._slots: dict[bytes, Slot] = {}
        self._closed: dict[int, tuple[bytes, bytes | None]] = {}
        self._top = 0
        self._extend()

    def find(self, image: bytes) -> Slot | None:
        """Return the place of an id that is in the window, open, or closed and not yet forgotten."""
        return self._slots.get(image)

    def is_closed(self, number: int) -> bool:
        """Tell whether a known number was answered, given up or passed over."""
        return number in self._closed

    def answer(self, number: int) -> bytes | None:
        """Return the sealed answer of a closed number, if it has one that is still kept."""
        return self._closed[number][1]

    def open(self, opened: OpenSet, now_ms: int) -> None:
        """Open a set, on its first authentic share, and let the window follow."""
        number = opened.slot.number
        self.sets[number] = opened
        self.used_ms = now_ms
        low = max(self.low, number - self._window // 2 + 1)
        for passed in range(self.low, low):
            if passed not in self.sets and passed not in self._closed:
                self._close(passed, self.session.schedule.slot(passed).image, None)
        self.low = low
        self._extend()

    def close(self, number: int, answer: bytes | None) -> None:
        """Close an open set for good, with its sealed answer or without."""
        self._close(number, self.sets.pop(number).slot.image, answer)

    def forget_answer(self, number: int) -> None:
        """Drop a kept answer, not the knowledge that its number was used."""
        if number in self._closed:
            self._closed[number] = (self._closed[number][0], None)

    def _close(self, number: int, image: bytes, answer: bytes | None) -> None:
        self._closed[number] = (image, answer)
        while len(self._closed) > self._max_closed:
            oldest = next(iter(self._closed))
            if oldest >= self.low:  # still in the window, which has yet to pass it
                break
            del self._slots[self._closed.pop(oldest)[0]]

    def _extend(self) -> None:
        for number in range(self._top, self.low + self._window):
            slot = self.session.schedule.slot(number)
            self._slots[slot.image] = slot
        self._top = self.low + self._window
