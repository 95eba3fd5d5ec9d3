"""Progress of long work: a bar on a terminal, nothing in a log."""

import sys
from collections.abc import Iterable
from typing import TypeVar

Item = TypeVar("Item")


def track(items: Iterable[Item], label: str, total: int | None = None) -> Iterable[Item]:
    """Yield ``items``; on a terminal a bar with rate and time left shows on standard error.

    Args:
        items: passed through unchanged.
        label: what is being done, e.g. ``decode fer2013``.
        total: number of items, where ``items`` does not know its length.
    """
    if not sys.stderr.isatty():
        return items
    from rich.console import Console
    from rich.progress import track as bar

    return bar(items, label, total=total, console=Console(stderr=True), transient=True)
