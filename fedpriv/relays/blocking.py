"""The client for code without an event loop: a thread runs one."""

import asyncio
import threading
from collections.abc import Coroutine, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from fedpriv.errors import UserError
from fedpriv.relays.client import Asked, RelayClient, Unanswered
from fedpriv.relays.settings import ClientSettings

_Result = TypeVar("_Result")


class BlockingClient:
    """A :class:`RelayClient` to be called from any thread; a context manager."""

    def __init__(self, settings: ClientSettings) -> None:
        """Read the secret.

        Raises:
            UserError: settings or secret are not usable.
        """
        self._client = RelayClient(settings)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fedpriv-relays", daemon=True)

    def __enter__(self) -> Self:
        """Start the thread."""
        self._thread.start()
        self._run(self._client.__aenter__())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the connections and end the thread."""
        try:
            self._run(self._client.__aexit__(None, None, None))
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def ask(self, image: NDArray[np.uint8], models: Sequence[str] = ("gaze", "emotion")) -> Asked:
        """Ask about one image, see :meth:`RelayClient.ask`."""
        return self._run(self._client.ask(image, models))

    def ask_many(
        self,
        images: Sequence[NDArray[np.uint8]],
        models: Sequence[str] = ("gaze", "emotion"),
        most_in_flight: int = 64,
    ) -> list[Asked | Unanswered]:
        """Ask about many images at once; what got no answer has its error in its place.

        Raises:
            UserError: an image or the models cannot be asked for.
        """
        return self._run(self._ask_many(images, models, most_in_flight))

    def settle(self) -> None:
        """Wait for the last records, see :meth:`RelayClient.settle`."""
        self._run(self._client.settle())

    async def _ask_many(
        self, images: Sequence[NDArray[np.uint8]], models: Sequence[str], most_in_flight: int
    ) -> list[Asked | Unanswered]:
        room = asyncio.Semaphore(most_in_flight)

        async def one(image: NDArray[np.uint8]) -> Asked | Unanswered:
            async with room:
                try:
                    return await self._client.ask(image, models)
                except Unanswered as error:
                    return error

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(one(image)) for image in images]
        except ExceptionGroup as several:
            for error in several.exceptions:
                if isinstance(error, UserError):
                    raise error from None
            raise
        return [task.result() for task in tasks]

    def _run(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()
