"""The model server's desk: envelopes to the assembler, whole images to the models, records to who waits."""

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial

from fedpriv.errors import UserError
from fedpriv.relays.frames import Replies
from fedpriv.services.logs import event
from fedpriv.serving.answers import Answer, encode_answer
from fedpriv.serving.batcher import Batcher, Busy, Closed
from fedpriv.sharing.answer import ANSWER_BYTES, Record, pack_records
from fedpriv.sharing.assembler import Assembler
from fedpriv.sharing.causes import Cause
from fedpriv.sharing.outcomes import Complete, ImageKey, Refused, Waiting
from fedpriv.sharing.payload import ImagePayload

MOST_WAITERS = 32
"""Requests that wait for one image: its shares, and some retries of each."""

_REFUSALS = {cause: pack_records([Record(cause, None)]) for cause in Cause}


@dataclass(eq=False, slots=True)
class _Waiter:
    replies: Replies
    position: int


class Intake:
    """Ties the assembler to the models. One event loop, besides the batcher's thread.

    Guarantee:
        - Every envelope gets exactly one record: the answer, a cause, or ``busy`` after ``hold_ms``.
        - Every complete image is answered or failed, and everybody who waits for it is told.
        - Who waits is bounded: :data:`MOST_WAITERS` per image, and images by the assembler.

    Attributes:
        causes: refusals since the last :meth:`tick`, for the log.
    """

    def __init__(
        self,
        assembler: Assembler,
        batcher: Batcher,
        models: Sequence[str],
        hold_ms: int,
        clock: Callable[[], int],
        count: Callable[[str], None],
    ) -> None:
        """Start; needs a running event loop.

        Args:
            assembler: of shares.
            batcher: of images.
            models: names offered; payloads name them by position.
            hold_ms: how long an envelope waits for the answer.
            clock: milliseconds since 1970.
            count: told the outcome of every envelope.
        """
        self.causes: Counter[str] = Counter()
        self._assembler, self._batcher, self._models = assembler, batcher, tuple(models)
        self._hold_ms, self._clock, self._count = hold_ms, clock, count
        self._waiters: dict[ImageKey, list[_Waiter]] = {}
        self._held: deque[tuple[int, ImageKey, _Waiter]] = deque()
        self._done: deque[Callable[[], None]] = deque()
        self._draining = False
        self._loop = asyncio.get_running_loop()

    @property
    def waiting(self) -> int:
        """How many envelopes wait for an answer."""
        return sum(map(len, self._waiters.values()))

    def accept(self, relay: str, envelopes: Sequence[bytes], replies: Replies) -> None:
        """Take the envelopes that an authenticated relay forwarded."""
        now_ms = self._clock()
        for position, envelope in enumerate(envelopes):
            outcome = self._assembler.accept(relay, envelope, now_ms)
            if isinstance(outcome, Refused):
                if outcome.closed is not None:
                    self._tell(outcome.closed, outcome.cause)
                self._refuse(replies, position, outcome.cause, outcome.answer)
                continue
            waiters = self._waiters.setdefault(outcome.image, [])
            if isinstance(outcome, Waiting) and len(waiters) >= MOST_WAITERS:
                self._refuse(replies, position, Cause.BUSY)
                continue
            waiter = _Waiter(replies, position)
            waiters.append(waiter)
            self._held.append((now_ms + self._hold_ms, outcome.image, waiter))
            if isinstance(outcome, Complete):
                self._infer(outcome.payload, partial(self._answer, outcome.image))

    def plain(self, payload: ImagePayload, replies: Replies, position: int) -> None:
        """Answer an image that came in clear; its record holds the answer in clear."""
        self._infer(payload, partial(self._answer_plain, replies, position))

    def tick(self) -> None:
        """Give up what is overdue; call a few times a second."""
        now_ms = self._clock()
        for image, cause in self._assembler.expire(now_ms):
            self._tell(image, cause)
        while self._held and self._held[0][0] <= now_ms:
            _, image, waiter = self._held.popleft()
            waiters = self._waiters.get(image)
            if waiters is not None and waiter in waiters:
                waiters.remove(waiter)
                if not waiters:
                    del self._waiters[image]
                self._refuse(waiter.replies, waiter.position, Cause.BUSY)
        if self.causes:
            event("refused", causes=dict(self.causes))
            self.causes.clear()

    def _infer(self, payload: ImagePayload, then: Callable[[Answer | None], None]) -> None:
        try:
            wanted = [self._models[position] for position in payload.wanted]
            future = self._batcher.submit(payload.image, wanted)
        except (UserError, Busy, Closed) as error:
            event("image refused", logging.WARNING, reason=str(error))
            then(None)
            return
        future.add_done_callback(partial(self._inferred, then))

    def _inferred(self, then: Callable[[Answer | None], None], future: "Future[Answer]") -> None:
        """Note a result, in the batcher's thread; one wake-up of the loop serves a whole batch."""
        error = future.exception()
        if error is not None:
            event("inference failed", logging.ERROR, reason=type(error).__name__)
        self._done.append(partial(then, None if error is not None else future.result()))
        if not self._draining:
            self._draining = True
            self._loop.call_soon_threadsafe(self._drain)

    def _drain(self) -> None:
        self._draining = False  # before the queue is read: a result that comes now wakes the loop again
        while self._done:
            try:
                self._done.popleft()()
            except (KeyError, ValueError):  # one image's trouble must not keep the others waiting
                event("answer lost", logging.ERROR)

    def _answer(self, image: ImageKey, answer: Answer | None) -> None:
        if answer is None:
            self._assembler.failed(image)
            self._tell(image, Cause.FAILED)
            return
        sealed = self._assembler.answered(image, encode_answer(answer), self._clock())
        record = pack_records([Record(None, sealed)])
        for waiter in self._waiters.pop(image, ()):
            self._count("answered")
            waiter.replies.put(waiter.position, record)

    def _answer_plain(self, replies: Replies, position: int, answer: Answer | None) -> None:
        if answer is None:
            self._refuse(replies, position, Cause.FAILED)
            return
        self._count("answered")
        content = encode_answer(answer)
        clear = (len(content).to_bytes(2, "big") + content).ljust(ANSWER_BYTES, b"\0")
        replies.put(position, pack_records([Record(None, clear)]))

    def _tell(self, image: ImageKey, cause: Cause) -> None:
        for waiter in self._waiters.pop(image, ()):
            self._refuse(waiter.replies, waiter.position, cause)

    def _refuse(self, replies: Replies, position: int, cause: Cause, answer: bytes | None = None) -> None:
        self.causes[cause.label] += 1
        self._count(cause.label)
        replies.put(position, pack_records([Record(cause, answer)]) if answer else _REFUSALS[cause])
