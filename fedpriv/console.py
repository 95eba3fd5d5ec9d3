"""What a run shows on the terminal: progress while it runs, a summary at the end."""

import logging
import shlex
import statistics
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from fedpriv.results import RoundResult

_PHASES = ("train", "encrypt", "aggregate", "decrypt", "evaluate")
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
    ) -> None:
        """Prepare; nothing is shown before :meth:`start`.

        Args:
            metric: key in :attr:`RoundResult.metrics` to show.
            label: its name for people, with its unit.
            console: where to draw; by default standard error, so that standard output stays clean.
            clock: seconds from any origin.
        """
        self._metric = metric
        self._label = label
        self._console = Console(stderr=True) if console is None else console
        self._clock = clock
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
            if self._live is not None or not self._console.is_interactive:
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
                parts += _measured(self._last, self._metric, self._label)
            status = Text(" | ".join(parts), no_wrap=True, overflow="ellipsis")
            if self._failed:
                status.append(f" | {self._failed} failed", style="yellow")
            return Group(head, status)


def round_line(result: RoundResult, total: int, metric: str, label: str) -> str:
    """Describe a round in one plain line, e.g. ``round 3/10 | angular error (deg) 9.1 | ...``."""
    parts = [f"round {result.number}/{total}", *_measured(result, metric, label)]
    if result.train_loss is not None:
        parts.append(f"train loss {number_text(result.train_loss)}")
    if result.asked:
        parts.append(f"clients {result.replied}/{result.asked}")
    if result.failures:
        parts.append(f"failed: {_causes(result.failures)}")
    if result.bytes_up:
        parts.append(f"up {bytes_text(result.bytes_up)}")
    wall = _wall(result)
    if wall:
        parts.append(seconds_text(wall))
    return " | ".join(parts)


def summary_table(
    console: Console,
    results: Sequence[RoundResult],
    *,
    metric: str,
    label: str,
    baseline: float | None = None,
    baseline_label: str = "baseline",
    other_baselines: Mapping[str, float] | None = None,
    epsilon_caveat: str | None = None,
    epsilon_unit: str | None = None,
    parameters: int | None = None,
    readers: str | None = None,
    tracking_uri: str | None = None,
    experiment: str | None = None,
    run_id: str | None = None,
) -> None:
    """Print what a run reached and what it cost.

    Args:
        console: where to print; without a terminal the table is plain text of the same content.
        results: all rounds, in order.
        metric: key in :attr:`RoundResult.metrics`.
        label: its name for people, with its unit.
        baseline: the metric of what needs no learning.
        baseline_label: what ``baseline`` stands for.
        other_baselines: the further metrics of what needs no learning, each shown in a row.
        epsilon_caveat: what limits the meaning of epsilon, shown beside it.
        epsilon_unit: whom it protects and how it was found, where the server computes it; None where it is
            the largest that clients report.
        parameters: parameters in an update; plain float32 takes 4 bytes each.
        readers: who can read what of the updates; None leaves the row out.
        tracking_uri: where MLflow keeps the run, free of credentials.
        experiment: its experiment.
        run_id: its run.
    """
    table = Table(title="Run summary", title_justify="left", title_style="bold", show_header=False)
    table.add_column(style="bold", overflow="fold")
    table.add_column(overflow="fold")

    def section(rows: Sequence[tuple[str, str]]) -> None:
        for name, value in rows:
            table.add_row(Text(name), Text(value))
        table.add_section()

    section(_metric_rows(results, metric, label, baseline, baseline_label))
    if others := _other_rows(results, metric, other_baselines or {}):
        section(others)
    spent = _epsilon_text(results, epsilon_unit)
    section([("epsilon", f"{spent}; {epsilon_caveat}" if epsilon_caveat else spent)])
    if any(result.asked for result in results):
        read_by = [] if readers is None else [("updates are read by", readers)]
        section(read_by + _traffic_rows(results, parameters))
    section(_time_rows(results))
    failures: dict[str, int] = {}
    for result in results:
        for cause, count in result.failures.items():
            failures[cause] = failures.get(cause, 0) + count
    if failures:
        section([("clients failed", _causes(failures))])
    if run_id is not None:
        section([("MLflow experiment", experiment or "?"), ("MLflow run", run_id)])
    console.print(table)
    if tracking_uri is not None:
        # Outside the table and unwrapped: a command broken into lines cannot be copied.
        command = (
            f"look: open {tracking_uri}"
            if tracking_uri.startswith(("http:", "https:"))
            else f"look: mlflow ui --backend-store-uri {shlex.quote(tracking_uri)}"
        )
        console.print(Text(command), soft_wrap=True)


def number_text(value: float) -> str:
    """Write a number with four significant digits: 9.123, 0.8125, 1.2e-05."""
    return f"{value:.4g}"


def bytes_text(size: float) -> str:
    """Write bytes with a decimal unit: 812 B, 31.4 kB, 1.25 MB."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        # 999,950 bytes read 1 MB, not 1000 kB: what three digits round up to takes the next unit.
        if size >= 0.9995 * scale:
            return f"{size / scale:.3g} {unit}"
    return f"{size:.0f} B"


def seconds_text(seconds: float) -> str:
    """Write a duration: 0.042 s, 12.3 s, 1:02:03 from ten minutes on."""
    return clock_text(seconds) if seconds >= 600 else f"{seconds:#.3g} s".replace(". s", " s")


def clock_text(seconds: float) -> str:
    """Write a duration as h:mm:ss."""
    whole = int(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def _measured(result: RoundResult, metric: str, label: str) -> list[str]:
    parts = []
    if metric in result.metrics:
        parts.append(f"{label} {number_text(result.metrics[metric])}")
    if result.epsilon is not None:
        parts.append(f"epsilon {result.epsilon:.3g}")
    return parts


def _causes(failures: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {cause}" for cause, count in sorted(failures.items()))


def _wall(result: RoundResult) -> float:
    inside = "encrypt" if "train" in result.seconds else ""
    return sum(value for phase, value in result.seconds.items() if phase != inside)


def _metric_rows(
    results: Sequence[RoundResult], metric: str, label: str, baseline: float | None, baseline_label: str
) -> list[tuple[str, str]]:
    measured = [result for result in results if metric in result.metrics]
    before = next((result for result in measured if result.number == 0), None)
    after = next((result for result in reversed(measured) if result.number > 0), None)
    return [
        ("measured", f"{label}, on unseen people"),
        (f"baseline ({baseline_label})", "not measured" if baseline is None else number_text(baseline)),
        ("before training", "not measured" if before is None else number_text(before.metrics[metric])),
        (
            "after training",
            "not measured"
            if after is None
            else f"{number_text(after.metrics[metric])} (round {after.number})",
        ),
    ]


def _other_rows(
    results: Sequence[RoundResult], metric: str, baselines: Mapping[str, float]
) -> list[tuple[str, str]]:
    measured = [result for result in results if result.metrics]
    if not measured:
        return []
    rows = []
    for name, after in measured[-1].metrics.items():
        if name == metric:
            continue
        parts = [f"{number_text(after)} after"]
        if name in measured[0].metrics:
            parts.insert(0, f"{number_text(measured[0].metrics[name])} before")
        if name in baselines:
            parts.insert(0, f"baseline {number_text(baselines[name])}")
        rows.append((name.replace("_", " "), ", ".join(parts)))
    return rows


def _epsilon_text(results: Sequence[RoundResult], unit: str | None) -> str:
    last = next((result for result in reversed(results) if result.epsilon is not None), None)
    if last is None or last.epsilon is None:
        return "none (no differential privacy)"
    stated = "" if last.delta is None else f" at delta {last.delta:.3g}"
    whose = " (largest reported)" if any(result.asked for result in results) else ""
    if unit is not None:
        whose = f" ({unit})"
    return f"{last.epsilon:.3g}{stated}{whose}"


def _traffic_rows(results: Sequence[RoundResult], parameters: int | None) -> list[tuple[str, str]]:
    sizes = [result.update_bytes for result in results if result.replied and result.update_bytes]
    rows = []
    if sizes:
        size = statistics.median(sizes)
        text = bytes_text(size)
        if parameters:
            plain = 4 * parameters
            text += f" ({size / plain:.2f} x plain float32, {bytes_text(plain)})"
        rows.append(("one update", text))
    up = sum(result.bytes_up for result in results)
    down = sum(result.bytes_down for result in results)
    rows.append(("all traffic", f"{bytes_text(up)} up, {bytes_text(down)} down"))
    if holders := sum(result.bytes_keyholders for result in results):
        rows.append(("  with key holders", f"{bytes_text(holders)}, both ways"))
    if clear := max(result.clear_fraction for result in results):
        rows.append(("IN CLEAR", f"{100 * clear:.3g} % of every update: the server reads it"))
    return rows


def _time_rows(results: Sequence[RoundResult]) -> list[tuple[str, str]]:
    totals = dict.fromkeys(_PHASES, 0.0)
    for result in results:
        for phase, value in result.seconds.items():
            totals[phase] = totals.get(phase, 0.0) + value
    who = "clients train" if any(result.asked for result in results) else "train"
    names = {"train": f"time: {who}", "encrypt": "  of it: encrypt (client mean)"}
    rows = [
        (names.get(phase, f"time: {phase}"), seconds_text(value)) for phase, value in totals.items() if value
    ]
    return [*rows, ("time: all phases", seconds_text(sum(map(_wall, results))))] if rows else []
