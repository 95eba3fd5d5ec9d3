"""How far a sweep is, shown by the process that launched it: its jobs may run anywhere."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from fedpriv.console.wording import clock_text, number_text, seconds_text
from fedpriv.sweeps.reports import Report, ReportFile
from fedpriv.sweeps.table import short

_POLL_S = 0.5


class SweepProgress:
    """Reads the jobs' reports as they come: a live bar on a terminal, elsewhere a line for each job's end.

    A context manager; what came in is in :attr:`latest` from its end on.
    """

    def __init__(
        self,
        reports: ReportFile,
        total: int | None,
        at_once: int,
        settings: Mapping[int, Sequence[str]],
        bar: Console,
        lines: Console,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare; nothing is shown before the block.

        Args:
            reports: to read.
            total: how many jobs there are; None where that is not known.
            at_once: how many run at the same time.
            settings: what the sweep varies, by job.
            bar: where to draw, if that is a terminal.
            lines: where to write if it is none.
            clock: seconds from any origin.
        """
        self.latest: dict[int, Report] = {}
        self._reports, self._total, self._at_once = reports, total, at_once
        self._settings, self._bar, self._lines, self._clock = settings, bar, lines, clock
        self._began = clock()
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._poll, name="sweep-progress", daemon=True)
        self._live: Live | None = None

    def __enter__(self) -> "SweepProgress":
        """Begin."""
        if self._bar.is_interactive:
            self._live = Live(
                get_renderable=self._render, console=self._bar, refresh_per_second=2, transient=True
            )
            self._live.start()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Read what is left and stop showing; a second call does nothing."""
        if not self._ended.is_set():
            self._ended.set()
            self._thread.join()
            self.take()
            if self._live is not None:
                self._live.stop()

    def take(self) -> None:
        """Read what has come in."""
        with self._lock:
            for report in self._reports.new():
                self.latest[report.number] = report
                if self._live is None and report.state not in ("running", "reused"):
                    self._lines.print(Text(self._line(report)), soft_wrap=True)

    def counts(self) -> dict[str, int]:
        """Return how many jobs are in each state that any is in."""
        states = [report.state for report in self.latest.values()]
        return {state: states.count(state) for state in dict.fromkeys(states)}

    def seconds_left(self) -> float | None:
        """Estimate the time to the end: jobs left times the mean time of one, over those at once."""
        took = [
            each.seconds for each in self.latest.values() if each.state in ("finished", "failed", "pruned")
        ]
        if self._total is None or not took:
            return None
        left = self._total - sum(each.state != "running" for each in self.latest.values())
        return left * sum(took) / len(took) / self._at_once

    def _poll(self) -> None:
        while not self._ended.wait(_POLL_S):
            self.take()

    def _line(self, report: Report) -> str:
        done = sum(each.state != "running" for each in self.latest.values())
        what = " ".join(map(_shown, self._settings.get(report.number, (f"job {report.number}",))))
        if report.state == "finished":
            value = "" if report.value is None else f" {number_text(report.value)}"
            how = f"{report.metric}{value}"
        else:
            # a reason begins with what ended the job, which may be what its state says
            how = f"{report.state}: {(report.reason or '').removeprefix(f'{report.state.capitalize()}: ')}"
        return f"{done}/{self._total or '?'} | {what} | {how} | {seconds_text(report.seconds)}"

    def _render(self) -> RenderableType:
        with self._lock:
            counts, left = self.counts(), self.seconds_left()
        done = sum(count for state, count in counts.items() if state != "running")
        head = Table.grid(padding=(0, 2), expand=True)
        for ratio in (None, 1, None):
            head.add_column(ratio=ratio, no_wrap=True)
        time_left = "?" if left is None else clock_text(left)
        head.add_row(
            Text(f"job {done} of {self._total or '?'}", style="bold"),
            ProgressBar(total=max(self._total or done, 1), completed=done),
            Text(f"{clock_text(self._clock() - self._began)}, {time_left} left"),
        )
        return Group(head, Text(" | ".join(f"{count} {state}" for state, count in counts.items())))


def _shown(setting: str) -> str:
    """Return ``name=value`` with the digits that a reader takes in; tables and MLflow have all of them."""
    name, equals, value = setting.partition("=")
    return f"{name}{equals}{short(value)}"
