"""Honest traffic beside the attacks: a client that goes on asking, and checks every answer."""

import asyncio
import itertools
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from fedpriv.relays.client import RelayClient, Unanswered
from fedpriv.relays.settings import ClientSettings
from fedpriv.serving.answers import Answer

AT_ONCE = 2
_PAUSE_S = 0.03
_LEAST = 5


@dataclass
class Report:
    """What became of honest images.

    Attributes:
        sent: how many.
        answered: rightly or wrongly.
        wrong: answers that are not what the models say of the picture.
        retries: how often an image had to be shared anew.
        unanswered: by cause.
    """

    sent: int = 0
    answered: int = 0
    wrong: int = 0
    retries: int = 0
    unanswered: Counter[str] = field(default_factory=Counter)

    @property
    def lost(self) -> int:
        """Images without an answer, or with a wrong one."""
        return self.wrong + self.unanswered.total()


class Honest:
    """One client with two images under way at any time; ``async with``.

    Attributes:
        report: since :meth:`begin`.
        total: before that.
    """

    def __init__(
        self, settings: ClientSettings, images: Sequence[NDArray[np.uint8]], answers: Sequence[Answer]
    ) -> None:
        """Prepare.

        Args:
            settings: of the client.
            images: asked about in turn, (H, W) uint8.
            answers: the right ones.
        """
        self.images, self.answers = images, answers
        self.report, self.total = Report(), Report()
        self._settings, self._next = settings, itertools.count()
        self._workers: list[asyncio.Task[None]] = []
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Open the connections."""
        self._client = await self._stack.enter_async_context(RelayClient(self._settings))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop asking and close the connections."""
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)
        await self._stack.aclose()

    def begin(self) -> None:
        """Begin a new report."""
        self.total = _sum(self.total, self.report)
        self.report = Report()

    def clear(self) -> None:
        """Forget all that was counted."""
        self.report, self.total = Report(), Report()

    def start(self) -> None:
        """Go on asking until :meth:`rest`."""
        self._going = True
        self._workers = [asyncio.create_task(self._ask()) for _ in range(AT_ONCE)]

    async def rest(self) -> None:
        """Ask no more; return when what is under way has ended."""
        self._going = False
        await asyncio.gather(*self._workers)
        self._workers = []

    @property
    def all(self) -> Report:
        """All that was counted since :meth:`clear`."""
        return _sum(self.total, self.report)

    async def _ask(self) -> None:
        done = 0
        while self._going or done < _LEAST:  # some, however short the attack
            which = next(self._next) % len(self.images)
            self.report.sent += 1
            try:
                asked = await self._client.ask(self.images[which])
            except Unanswered as error:
                self.report.unanswered[error.cause] += 1
            else:
                self.report.answered += 1
                self.report.retries += asked.attempts - 1
                self.report.wrong += asked.answer != self.answers[which]
            done += 1
            await asyncio.sleep(_PAUSE_S)


def _sum(first: Report, second: Report) -> Report:
    return Report(
        first.sent + second.sent,
        first.answered + second.answered,
        first.wrong + second.wrong,
        first.retries + second.retries,
        first.unanswered + second.unanswered,
    )
