"""Which relays failed a client lately, and whose turn it is to be tried again."""

import time
from collections.abc import Callable, Collection, Iterable

FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0


class Faults:
    """Relays to leave out for a while, by one client's own experience.

    A relay that failed is left out for a second; then one image tries it, and the pause doubles, up to a
    minute, until an answer proves it well.

    Guarantee:
        - Nobody is left out when fewer relays than an image needs would remain: a relay can make itself
          look bad, and whoever makes others look bad gains no image that needs fewer relays.
    """

    def __init__(self, relays: Iterable[str], clock: Callable[[], float] = time.monotonic) -> None:
        """Trust everybody.

        Args:
            relays: names.
            clock: seconds.
        """
        self._relays, self._clock = frozenset(relays), clock
        self._failed: dict[str, tuple[float, float]] = {}

    def failed(self, relay: str) -> None:
        """Leave a relay out; that it fails again while it is left out says nothing new."""
        if relay not in self._failed:
            self._failed[relay] = FIRST_PAUSE_S, self._clock() + FIRST_PAUSE_S

    def worked(self, relay: str) -> None:
        """Trust a relay again."""
        self._failed.pop(relay, None)

    def chosen(self, relays: Iterable[str]) -> None:
        """Note that an image goes out: a relay whose pause is over is tried by this image alone."""
        now = self._clock()
        for relay in relays:
            pause, until = self._failed.get(relay, (0.0, 0.0))
            if pause and until <= now:
                longer = min(2 * pause, LONGEST_PAUSE_S)
                self._failed[relay] = longer, now + longer

    def enough(self, count: int) -> bool:
        """Tell whether at least ``count`` relays have not failed."""
        return len(self._relays) - len(self._failed) >= count

    def avoided(self, count: int) -> Collection[str]:
        """Return which relays to leave out of an image that needs ``count``."""
        if not self.enough(count):
            return ()
        now = self._clock()
        return {relay for relay, (_, until) in self._failed.items() if until > now}

    def last(self, relays: Iterable[str]) -> list[str]:
        """Return relays in their order, those that failed at the end."""
        return sorted(relays, key=lambda relay: relay in self._failed)
