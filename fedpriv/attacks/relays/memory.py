"""Resident memory of the services as the system counts it, whatever they say of themselves."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

SLACK_BYTES = 48 << 20
"""What honest traffic, and an allocator that keeps pages, may add."""
_SAMPLE_S = 0.05


class Memory:
    """How much processes hold.

    Attributes:
        before: bytes when the watch began.
        peak: bytes, the most that was seen.
    """

    def __init__(self, pids: Iterable[int]) -> None:
        """Look for the first time."""
        self._pids = sorted(set(pids))
        self.before = self.peak = resident(self._pids)

    def look(self) -> None:
        """Look again."""
        self.peak = max(self.peak, resident(self._pids))

    @property
    def beyond(self) -> int:
        """Bytes by which they grew beyond :data:`SLACK_BYTES`."""
        return max(0, self.peak - self.before - SLACK_BYTES)


@asynccontextmanager
async def watched(pids: Iterable[int]) -> AsyncIterator[Memory]:
    """Look at processes all the time."""
    memory = Memory(pids)

    async def look() -> None:
        while True:
            memory.look()
            await asyncio.sleep(_SAMPLE_S)

    looking = asyncio.create_task(look())
    try:
        yield memory
        memory.look()
    finally:
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)


def resident(pids: Iterable[int]) -> int:
    """Return the bytes that processes hold; of one that has ended none.

    Source: proc(5), field 2 of statm, in pages.
    """
    pages = 0
    for pid in pids:
        try:
            pages += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        except OSError:
            continue
    return pages * os.sysconf("SC_PAGE_SIZE")
