"""Images of many requests inferred together: one thread, a bounded queue, an answer or an error for each."""

import queue
import threading
import time
from collections.abc import Collection
from concurrent.futures import Future
from dataclasses import dataclass
from types import TracebackType

from fedpriv.serving.answers import Answer
from fedpriv.serving.image import GreyImage, check_image
from fedpriv.serving.model_set import ModelSet


class Busy(Exception):
    """As many images wait as may; nothing was taken."""


class Closed(Exception):
    """The batcher takes no more images."""


@dataclass(frozen=True)
class _Request:
    image: GreyImage
    wanted: frozenset[str]
    future: "Future[Answer]"


class Batcher:
    """Gathers images from any threads, or an event loop, and lets the models infer once for all.

    The thread takes the first image that waits, then what else comes within ``longest_wait_s`` or
    ``most_images``, whichever ends first. While one batch is inferred the next one gathers, so under load
    batches grow by themselves; a longer wait costs a lone image more than it saves.

    Guarantee:
        - What :meth:`submit` took is answered, or its future carries the error; none waits for ever,
          :meth:`close` included.
        - An error reaches the request that caused it: when a batch fails its images are inferred one by one.
        - At most ``most_waiting`` images wait; past that :class:`Busy` is raised and nothing is kept.
        - The answer is that of :meth:`ModelSet.answer` for the image alone.

    Edge cases:
        - A future that was cancelled while it waited is not inferred.

    Attributes:
        models: what answers.
        images: how many have been answered.
        batches: in how many goes.
    """

    def __init__(
        self,
        models: ModelSet,
        most_images: int = 64,
        longest_wait_s: float = 0.0005,
        most_waiting: int = 1024,
    ) -> None:
        """Start the thread.

        Raises:
            ValueError: a bound is below 1, or the wait negative.
        """
        if min(most_images, most_waiting) < 1 or not longest_wait_s >= 0:
            raise ValueError(f"most_images={most_images}, most_waiting={most_waiting}, wait={longest_wait_s}")
        self.models, self.images, self.batches = models, 0, 0
        self._most, self._longest_wait_s = most_images, longest_wait_s
        # one place more than may wait is for the None that ends the thread
        self._queue: queue.Queue[_Request | None] = queue.Queue(most_waiting + 1)
        self._most_waiting, self._closed, self._lock = most_waiting, False, threading.Lock()
        self._thread = threading.Thread(target=self._work, name="fedpriv-batcher", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """How many images wait for their batch."""
        return self._queue.qsize()

    def submit(self, image: GreyImage, wanted: Collection[str]) -> "Future[Answer]":
        """Hand in one image; in an event loop ``await asyncio.wrap_future(batcher.submit(...))``.

        Args:
            image: (H, W) uint8; must not be changed until it is answered.
            wanted: kinds of answers.

        Raises:
            UserError: the image or what is asked of it cannot be answered here.
            Busy: too many images wait.
            Closed: after :meth:`close`.
        """
        check_image(image)
        self.models.check(wanted)
        request = _Request(image, frozenset(wanted), Future())
        with self._lock:
            if self._closed:
                raise Closed("no more images are taken")
            if self._queue.qsize() >= self._most_waiting:
                raise Busy(f"{self._most_waiting} images wait")
            self._queue.put_nowait(request)
        return request.future

    def close(self) -> None:
        """Answer what was taken, take no more, and return when the thread has ended; may be called again."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._queue.put_nowait(None)
        self._thread.join()

    def __enter__(self) -> "Batcher":
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()

    def _work(self) -> None:
        ended = False
        while not ended:
            batch, ended = self._gather()
            running = [request for request in batch if request.future.set_running_or_notify_cancel()]
            if running:
                self._infer(running)

    def _gather(self) -> tuple[list[_Request], bool]:
        """Return the next batch, and whether it is the last."""
        batch: list[_Request] = []
        request = self._queue.get()
        deadline = time.monotonic() + self._longest_wait_s
        while request is not None:
            batch.append(request)
            if len(batch) == self._most:
                return batch, False
            try:
                request = self._queue.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                return batch, False
        return batch, True

    def _infer(self, batch: list[_Request]) -> None:
        try:
            answers = self.models.answer([each.image for each in batch], [each.wanted for each in batch])
        except Exception as error:  # whatever it is belongs to a request, not to the thread
            if len(batch) == 1:
                batch[0].future.set_exception(error)
                return
            for request in batch:
                self._infer([request])
            return
        self.batches, self.images = self.batches + 1, self.images + len(batch)
        for request, answer in zip(batch, answers, strict=True):
            request.future.set_result(answer)
