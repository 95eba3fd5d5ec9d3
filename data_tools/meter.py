"""How far through a file we are: a bar on a terminal, nothing in a log."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_EVERY = 64


@contextmanager
def byte_meter(label: str, size: int) -> Iterator[Callable[[int], None]]:
    """Give a function that takes the present offset in a file of ``size`` bytes."""
    if not sys.stderr.isatty():
        yield lambda offset: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    calls = 0

    def show(offset: int) -> None:
        nonlocal calls
        calls += 1
        if calls % _EVERY == 0:
            bar.update(task, completed=offset)

    with bar:
        task = bar.add_task(label, total=size)
        yield show
