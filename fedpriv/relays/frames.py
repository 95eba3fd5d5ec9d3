"""Answers to a batch of envelopes as a stream: each in its frame, as soon as it is ready.

One byte for the envelope's position in the batch, then a record of fixed size. Were the records to come in
the order of the envelopes, one half-finished set would keep all others of its batch waiting.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Protocol

from fedpriv.sharing.causes import Cause, SharingError


class Replies(Protocol):
    """What takes the records of a batch, one per position."""

    def put(self, position: int, record: bytes) -> None:
        """Take the record of one envelope; a second one for its position is ignored."""


class ReplyStream:
    """Collects the records of one batch and yields them as frames.

    Guarantee:
        - One frame per position, whatever is put how often; the stream ends when all are there.
    """

    def __init__(self, count: int) -> None:
        """Expect ``count`` records."""
        self._open = set(range(count))
        self._ready: list[bytes] = []
        self._event = asyncio.Event()

    def put(self, position: int, record: bytes) -> None:
        """Take the record of one envelope."""
        if position in self._open:
            self._open.remove(position)
            self._ready += (position.to_bytes(1, "big"), record)
            self._event.set()

    async def frames(self) -> AsyncIterator[bytes]:
        """Yield what is ready, until all is."""
        while self._open or self._ready:
            await self._event.wait()
            self._event.clear()
            ready, self._ready = self._ready, []
            if ready:
                yield b"".join(ready)


class FrameReader:
    """Reads frames from the pieces in which a stream arrives, from a server that may lie."""

    def __init__(self, count: int, record_bytes: int) -> None:
        """Expect a record of ``record_bytes`` for each of ``count`` positions."""
        self.open = set(range(count))
        self._record_bytes = record_bytes
        self._rest = b""

    def feed(self, piece: bytes) -> list[tuple[int, bytes]]:
        """Return positions and records that are whole now.

        Raises:
            SharingError: ``malformed`` when a position comes twice or is none of the batch.
        """
        data = self._rest + piece
        found, start, size = [], 0, 1 + self._record_bytes
        while len(data) - start >= size:
            position = data[start]
            if position not in self.open:
                raise SharingError(Cause.MALFORMED, f"a record for position {position}, which waits for none")
            self.open.remove(position)
            found.append((position, data[start + 1 : start + size]))
            start += size
        self._rest = data[start:]
        if self._rest and not self.open:
            raise SharingError(Cause.MALFORMED, "more than one record per envelope")
        return found
