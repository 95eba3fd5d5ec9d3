"""Attempts in rounds, and many at once."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


async def at_once(
    items: Iterable[Item], work: Callable[[Item], Awaitable[Result]], most: int = 16
) -> list[Result]:
    """Return ``work`` of every item, at most ``most`` at a time."""
    room = asyncio.Semaphore(most)

    async def one(item: Item) -> Result:
        async with room:
            return await work(item)

    return await asyncio.gather(*(one(item) for item in items))


def rounds(attempts: int, most: int) -> list[int]:
    """Cut attempts into rounds of at most ``most``."""
    return [min(most, attempts - start) for start in range(0, attempts, most)]
