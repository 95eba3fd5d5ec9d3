"""How far a run is: a live bar on a terminal, one plain line per round in the log."""

import logging
import threading
import time
from collections.abc import Callable
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from fedpriv.console.wording import clock_text, measured_texts, round_line
from fedpriv.results import RoundResult

_log = logging.getLogger("fedpriv")


class RunProgress:
    """Shows how far a run is.

    On a terminal: a live bar of rounds with the time left, the clients that have replied in this
    round, the last metric, epsilon and failures. Everywhere: one plain line per round at INFO to
    the logger ``fedpriv``; on a terminal only its file handler should show them.

    Every method may be called from any thread. A context manager: :meth:`close` at its end.
    """

    def __init__(
        self,
        metric: str,
        label: str,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
        shown: bool = True,
    ) -> None:
        """Prepare; nothing is shown before :meth:`start`.

        Args:
            metric: key in :attr:`RoundResult.metrics` to show.
            label: its name for people, with its unit.
            console: where to draw; by default standard error, so that standard output stays clean.
            clock: seconds from any origin.
            shown: whether to draw where there is a terminal; a run of a sweep leaves it to the sweep.
        """
        self._metric = metric
        self._label = label
        self._console = Console(stderr=True) if console is None else console
        self._clock = clock
        self._shown = shown
        self._lock = threading.RLock()
        self._live: Live | None = None
        self._total = 0
        self._done = self._asked = 0
        self._last: RoundResult | None = None
        self._failed = 0
        self._began = 0.0
        self._base: tuple[float, int] | None = None
        self._at = 0.0

    def start(self, total_rounds: int) -> None:
        """Begin showing a run of ``total_rounds`` rounds."""
        with self._lock:
            self._total = total_rounds
            self._began = self._clock()
            if self._live is not None or not (self._shown and self._console.is_interactive):
                return
            live = self._live = Live(
                get_renderable=self._render, console=self._console, refresh_per_second=4, transient=True
            )
        live.start()

    def client_done(self, done: int, asked: int) -> None:
        """Note that ``done`` of the ``asked`` clients have finished in the present round."""
        with self._lock:
            self._done, self._asked = done, asked

    def round_done(self, result: RoundResult) -> None:
        """Note a finished round (round 0 is the evaluation before training)."""
        with self._lock:
            now = self._clock()
            if self._base is None:
                # A run that is resumed starts at a later round: its first round began at start().
                self._base = (now, 0) if result.number == 0 else (self._began, result.number - 1)
            self._last = result
            self._failed += sum(result.failures.values())
            self._done = self._asked = 0
            self._at = now
            line = round_line(result, self._total, self._metric, self._label)
        _log.info("%s", line)

    def close(self) -> None:
        """Stop showing; a second call does nothing."""
        with self._lock:
            live, self._live = self._live, None
        if live is not None:
            # Outside the lock: stopping waits for the drawing thread, which takes the lock.
            live.stop()

    def seconds_left(self) -> float | None:
        """Estimate the seconds to the end: mean time of a round times rounds left, less time since the last.

        None before the first round of training is done.
        """
        with self._lock:
            if self._base is None or self._last is None or self._last.number <= self._base[1]:
                return None
            per_round = (self._at - self._base[0]) / (self._last.number - self._base[1])
            left = per_round * (self._total - self._last.number)
            return max(0.0, left - (self._clock() - self._at))

    def __enter__(self) -> "RunProgress":
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()

    def _render(self) -> RenderableType:
        with self._lock:
            number = 0 if self._last is None else self._last.number
            share = self._done / self._asked if self._asked else 0.0
            left = self.seconds_left()
            head = Table.grid(padding=(0, 2), expand=True)
            for ratio in (None, 1, None):
                head.add_column(ratio=ratio, no_wrap=True)
            head.add_row(
                Text(f"round {min(number + 1, self._total)} of {self._total}", style="bold"),
                ProgressBar(total=max(self._total, 1), completed=min(number + share, self._total)),
                Text(
                    f"{clock_text(self._clock() - self._began)}, "
                    f"{'?' if left is None else clock_text(left)} left"
                ),
            )
            parts = [f"clients {self._done} of {self._asked or '?'}"]
            if self._last is not None:
                parts += measured_texts(self._last, self._metric, self._label)
            status = Text(" | ".join(parts), no_wrap=True, overflow="ellipsis")
            if self._failed:
                status.append(f" | {self._failed} failed", style="yellow")
            return Group(head, status)
