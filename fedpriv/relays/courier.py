"""Envelopes on their way to one service: what waits together travels together."""

import asyncio
import contextlib
import json
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import aiohttp

from fedpriv.relays.frames import FrameReader
from fedpriv.sharing.answer import RECORD_BYTES
from fedpriv.sharing.causes import SharingError
from fedpriv.sharing.envelope import MAX_BATCH

_MOST_BODY_BYTES = 768 << 10
_MOST_REFUSAL_BYTES = 4096
_OCTETS = {"content-type": "application/octet-stream"}
# one clock for a request, not sock_read: aiohttp would set that anew for every piece that arrives
TIMEOUT = aiohttp.ClientTimeout(total=20.0, sock_connect=3.0)


@dataclass(frozen=True)
class NotDelivered:
    """Why there is no record for an envelope.

    Attributes:
        status: of HTTP; 0 when there was no response, or none that could be read.
        detail: one line.
    """

    status: int
    detail: str


Take = Callable[[bytes | NotDelivered], None]
"""Called once per envelope, in the event loop, with its record or why there is none."""


class Courier:
    """Posts items (envelopes, or payloads in clear) back to back to one URL, and deals out the frames.

    An item that comes while nothing is under way leaves at once; while there is, items gather for at most
    ``longest_wait_s``. When ``most_requests`` are under way items wait for one to end, and the next body
    takes all that wait, up to 64.

    Guarantee:
        - Every item's ``take`` is called exactly once, :meth:`close` included.
        - Nothing is sent twice: to try again is the business of who submits.

    Attributes:
        sent_bytes: in bodies of requests.
        received_bytes: in bodies of responses.
    """

    def __init__(
        self,
        http: aiohttp.ClientSession,
        url: str,
        *,
        headers: Callable[[bytes], Mapping[str, str]] | None = None,
        most_requests: int = 16,
        longest_wait_s: float = 0.001,
    ) -> None:
        """Start; needs a running event loop.

        Args:
            http: connections to use.
            url: to post to.
            headers: more headers for a body.
            most_requests: at once.
            longest_wait_s: for other items.
        """
        self.sent_bytes, self.received_bytes = 0, 0
        self._http, self._url, self._headers = http, url, headers
        self._longest_wait_s = longest_wait_s
        self._waiting: deque[tuple[bytes, Take]] = deque()
        self._wake, self._slots = asyncio.Event(), asyncio.Semaphore(most_requests)
        self._under_way: set[asyncio.Task[None]] = set()
        self._closed = False
        self._dispatcher = asyncio.create_task(self._dispatch())

    def submit(self, item: bytes, take: Take) -> None:
        """Send an item with the next body."""
        if self._closed:
            take(NotDelivered(0, "this client is closed"))
            return
        self._waiting.append((item, take))
        self._wake.set()

    async def ask(self, item: bytes) -> bytes | NotDelivered:
        """Send an item and wait for what comes back."""
        future: asyncio.Future[bytes | NotDelivered] = asyncio.get_running_loop().create_future()

        def take(record: bytes | NotDelivered) -> None:
            if not future.done():
                future.set_result(record)

        self.submit(item, take)
        return await future

    @property
    def idle(self) -> bool:
        """Whether nothing waits or is under way."""
        return not self._waiting and not self._under_way

    async def close(self) -> None:
        """Give up what waits and what is under way."""
        self._closed = True
        tasks = [self._dispatcher, *self._under_way]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        while self._waiting:
            self._waiting.popleft()[1](NotDelivered(0, "this client was closed"))

    async def _dispatch(self) -> None:
        while True:
            await self._wake.wait()
            await self._slots.acquire()
            if self._under_way and len(self._waiting) < MAX_BATCH:
                await asyncio.sleep(self._longest_wait_s)
            else:
                await asyncio.sleep(0)  # what is submitted in the same go travels along
            batch = self._next_batch()
            if not self._waiting:
                self._wake.clear()
            task = asyncio.create_task(self._post(batch))
            self._under_way.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        self._slots.release()

    def _next_batch(self) -> list[tuple[bytes, Take]]:
        batch: list[tuple[bytes, Take]] = []
        size = 0
        while self._waiting and len(batch) < MAX_BATCH:
            size += len(self._waiting[0][0])
            if batch and size > _MOST_BODY_BYTES:
                break
            batch.append(self._waiting.popleft())
        return batch

    async def _post(self, batch: list[tuple[bytes, Take]]) -> None:
        reader = FrameReader(len(batch), RECORD_BYTES)
        lost = NotDelivered(0, f"{self._url}: was given up")
        try:
            body = b"".join(item for item, _ in batch)
            headers = {**_OCTETS, **(self._headers(body) if self._headers else {})}
            self.sent_bytes += len(body)
            async with self._http.post(
                self._url, data=body, headers=headers, timeout=TIMEOUT, allow_redirects=False
            ) as response:
                if response.status != 200:
                    lost = NotDelivered(response.status, await refusal_text(response))
                    return
                async for piece in response.content.iter_any():
                    self.received_bytes += len(piece)
                    for position, record in reader.feed(piece):
                        batch[position][1](record)
                lost = NotDelivered(0, f"{self._url}: the answer ended early")
        except (aiohttp.ClientError, OSError, SharingError) as error:
            lost = NotDelivered(0, f"{self._url}: {str(error) or type(error).__name__}")
        finally:
            for position in reader.open:
                batch[position][1](lost)


async def read_most(stream: aiohttp.StreamReader, most: int) -> bytes:
    """Return a body, or its first ``most`` bytes, in however many pieces it arrives."""
    pieces = []
    while most and (piece := await stream.read(most)):
        pieces.append(piece)
        most -= len(piece)
    return b"".join(pieces)


async def refusal_text(response: aiohttp.ClientResponse) -> str:
    """Return what a service says of its refusal, from a service that may lie."""
    text = f"status {response.status}"
    with contextlib.suppress(aiohttp.ClientError, OSError, ValueError, RecursionError):
        found = json.loads(await read_most(response.content, _MOST_REFUSAL_BYTES))
        if isinstance(found, dict) and isinstance(found.get("cause"), str):
            text = f"{found['cause']}: {found.get('detail', '')}"
    return "".join(each if each.isprintable() else " " for each in text)[:300]
