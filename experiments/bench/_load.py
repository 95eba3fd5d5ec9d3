"""Load on a model server, every answer checked, and what it costs the processes that serve it."""

import asyncio
import itertools
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedpriv.relays.attempt import Traffic
from fedpriv.relays.client import Asked, Unanswered
from fedpriv.services.outgoing import plain_connection
from fedpriv.serving.answers import Answer

Ask = Callable[[NDArray[np.uint8]], Awaitable[Asked]]
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Load:
    """What came of a load, or of several added up.

    Attributes:
        images: asked about and answered rightly.
        lost: without an answer, or with a wrong one.
        shared_anew: images that were shared more than once.
        seconds: from the first question to the last answer.
        latencies: seconds of each image answered rightly, in the order of the answers.
        traffic: of each image answered rightly; records may still come after a load has ended.
    """

    images: int = 0
    lost: int = 0
    shared_anew: int = 0
    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    traffic: list[Traffic] = field(default_factory=list)

    @property
    def sent_bytes(self) -> int:
        """In bodies, by the client."""
        return sum(each.sent_bytes for each in self.traffic)

    @property
    def received_bytes(self) -> int:
        """In records, until now."""
        return sum(each.received_bytes for each in self.traffic)

    @property
    def per_second(self) -> float:
        """Images answered rightly per second."""
        return self.images / self.seconds

    def add(self, other: "Load") -> None:
        """Add another load, one after this."""
        for each in fields(self):
            setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))


async def load(
    ask: Ask,
    images: Sequence[NDArray[np.uint8]],
    expected: Sequence[Answer],
    seconds: float,
    in_flight: int,
) -> Load:
    """Keep ``in_flight`` images under way for ``seconds``, then wait for the last.

    Args:
        ask: about one image.
        images: asked about in turns.
        expected: the right answer to each.
        seconds: no image is begun later.
        in_flight: at any time; an answer is followed by the next question at once.
    """
    found, turns, begun = Load(), itertools.cycle(range(len(images))), time.perf_counter()

    async def one_after_another() -> None:
        while time.perf_counter() - begun < seconds:
            which = next(turns)
            try:
                asked = await ask(images[which])
            except Unanswered:
                found.lost += 1
                continue
            if asked.answer != expected[which]:
                found.lost += 1
                continue
            found.images += 1
            found.shared_anew += asked.attempts > 1
            found.latencies.append(asked.seconds)
            found.traffic.append(asked.traffic)

    async with asyncio.TaskGroup() as group:
        for _ in range(in_flight):
            group.create_task(one_after_another())
    found.seconds = time.perf_counter() - begun
    return found


def processor_seconds(pid: int) -> tuple[float, float]:
    """Return the user and the system time of a process, in steps of 10 ms (Linux)."""
    after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(after_name[11]) / _TICKS, int(after_name[12]) / _TICKS


def series(url: str) -> dict[str, float]:
    """Return the value of every series that a service shows on /metrics."""
    connection = plain_connection(url, None, 5.0)
    try:
        connection.request("GET", "/metrics")
        lines = connection.getresponse().read().decode().splitlines()
    finally:
        connection.close()
    split = (line.rpartition(" ") for line in lines if line and not line.startswith("#"))
    return {name: float(value) for name, _, value in split}
