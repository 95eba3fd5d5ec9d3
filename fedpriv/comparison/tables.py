"""A comparison as tables of text: what groups reached and cost, and how they differ from their reference."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fedpriv.comparison.comparison import Comparison
from fedpriv.comparison.groups import Group
from fedpriv.comparison.judged import Judged
from fedpriv.comparison.statistics import Summary
from fedpriv.comparison.tested import Difference
from fedpriv.comparison.text import shown
from fedpriv.comparison.trials import Trial
from fedpriv.console.wording import bytes_text, number_text, seconds_text

DASH = "–"
LEVEL = 0.05
"""A corrected p-value below this is called a difference."""


@dataclass(frozen=True)
class Table:
    """Text in cells, escaped for no format yet.

    Attributes:
        title: above it.
        heads: of the columns.
        numeric: which of these are numbers, set to the right.
        rows: as long as the heads.
    """

    title: str
    heads: list[str]
    numeric: list[bool]
    rows: list[list[str]]


def results_table(found: Comparison) -> Table:
    """Return a row per group: its settings, each metric's mean ± deviation, states of runs, and costs.

    What was sent down has a column where runs say it, what key holders sent and got where there were any.
    """
    heads = [column.short for column in found.columns]
    metrics = [
        f"{metric.label}, {metric.sense}" if metric.sense else metric.label for metric in found.metrics
    ]
    traffic = _traffic(found)
    costs = ["epsilon spent", "up, client and round", "up in all", *traffic, "a round takes"]
    rows = []
    for each in found.groups:
        up = each.cost(lambda trial: trial.bytes_up)
        reply = each.cost(lambda trial: trial.bytes_per_reply)
        seconds = each.cost(lambda trial: trial.round_seconds)
        rows.append(
            [
                *(column.text(value) for column, value in zip(found.columns, each.values, strict=True)),
                *(_metric_cell(each, metric) for metric in found.metrics),
                each.states_text,
                each.epsilon_text,
                DASH if reply is None else bytes_text(reply.mean),
                DASH if up is None else bytes_text(up.mean),
                *(
                    DASH if (sent := each.cost(of)) is None else bytes_text(sent.mean)
                    for of in traffic.values()
                ),
                DASH if seconds is None else _seconds(seconds),
            ]
        )
    return Table(
        title=found.title,
        heads=[*heads, *metrics, "runs", *costs],
        numeric=[*([False] * len(heads)), *([True] * len(metrics)), False, *([True] * len(costs))],
        rows=rows,
    )


def tests_table(found: Comparison) -> Table | None:
    """Return a row per group and metric that has a reference; None where no two seeds are in two groups."""
    shown_tests = [test for test in found.tests if test.paired is not None]
    if all(test.paired is None or test.paired.n < 2 for test in shown_tests):
        return None
    several = len({test.metric for test in shown_tests}) > 1
    references = {test.reference for test in shown_tests}
    metrics = {metric.name: metric for metric in found.metrics}
    heads = [*(["metric"] if several else []), "group", *(["against"] if len(references) > 1 else [])]
    rows = [
        [
            *([metrics[test.metric].label] if several else []),
            found.groups[test.group].label,
            *([_where_it_differs(found, test)] if len(references) > 1 else []),
            *_test_cells(test, metrics[test.metric]),
        ]
        for test in shown_tests
    ]
    one = f" from {found.groups[next(iter(references))].label}" if len(references) == 1 else ""
    of = "" if several else f" of {metrics[shown_tests[0].metric].label}"
    return Table(
        title=f"Difference{of}{one}, by pairs of the same seed",
        heads=[*heads, "difference", "95 % interval", "pairs", "p", "p (Holm)", "verdict"],
        numeric=[*([False] * len(heads)), True, True, True, True, True, False],
        rows=rows,
    )


def runs_table(found: Comparison) -> Table:
    """Return a row per run, also of those that do not count: what it was, what became of it and why."""
    rows = []
    members = [(each.label, trial, False) for each in found.groups for trial in each.counted]
    members += [(each.label, trial, True) for each in found.groups for trial in each.repeated]
    members += [("unknown", trial, False) for trial in found.unplaced]
    for label, trial, repeated in members:
        state = f"{trial.state}, run again" if repeated else trial.state
        figures = [
            number_text(trial.values[metric.name]) if metric.name in trial.values else DASH
            for metric in found.metrics
        ]
        rows.append(
            [
                label,
                shown(trial.seed or DASH, 20),
                state,
                *figures,
                trial.epsilon_text,
                DASH if trial.round_seconds is None else seconds_text(trial.round_seconds),
                shown(trial.run.name, 60),
                shown(trial.run.run_id, 40),
                trial.remark,
            ]
        )
    metrics = [metric.label for metric in found.metrics]
    return Table(
        title="Runs",
        heads=["group", "seed", "state", *metrics, "epsilon", "a round takes", "name", "run", "remark"],
        numeric=[False, True, False, *([True] * len(metrics)), True, True, False, False, False],
        rows=rows,
    )


def summary_text(found: Summary | None) -> str:
    """Write mean ± sample standard deviation: the deviation with two digits, the mean to the same place."""
    if found is None:
        return DASH
    if not found.deviation or not math.isfinite(found.deviation):
        more = "" if found.deviation is None else f" ± {found.deviation:g}"
        return number_text(found.mean) + more
    return f"{_to_place(found.mean, found.deviation)} ± {_to_place(found.deviation, found.deviation)}"


def p_text(p: float | None) -> str:
    """Write a p-value with two digits; ``< 0.0001`` below that."""
    if p is None:
        return DASH
    return "< 0.0001" if p < 1e-4 else f"{p:.2g}"


def _traffic(found: Comparison) -> dict[str, Callable[[Trial], float | None]]:
    """Return heads of the bytes beside those sent up, with what a run says of them."""
    costs: dict[str, Callable[[Trial], float | None]] = {}
    if any(trial.bytes_down is not None for each in found.groups for trial in each.finished):
        costs["down in all"] = lambda trial: trial.bytes_down
    if any(trial.bytes_keyholders for each in found.groups for trial in each.finished):
        costs["key holders in all"] = lambda trial: trial.bytes_keyholders
    return costs


def _metric_cell(each: Group, metric: Judged) -> str:
    summary = each.summary(metric.name)
    text = summary_text(summary)
    if summary is None or summary.n == len(each.finished):
        return text
    return f"{text} (n = {summary.n})"


def _seconds(summary: Summary) -> str:
    if summary.deviation is None or summary.mean >= 600:
        more = "" if summary.deviation is None else f" ± {seconds_text(summary.deviation)}"
        return f"{seconds_text(summary.mean)}{more}"
    return f"{summary_text(summary)} s"


def _test_cells(test: Difference, metric: Judged) -> Sequence[str]:
    found = test.paired
    if found is None:
        return [DASH] * 6
    scale = found.difference if found.low is None or found.high is None else (found.high - found.low) / 2
    difference = _signed(found.difference, scale)
    interval = DASH
    if found.low is not None and found.high is not None:
        interval = f"{_signed(found.low, scale)} to {_signed(found.high, scale)}"
    return [difference, interval, str(found.n), p_text(found.p), p_text(test.p_holm), _verdict(test, metric)]


def _where_it_differs(found: Comparison, test: Difference) -> str:
    ours, theirs = found.groups[test.group], found.groups[test.reference]
    return ", ".join(
        f"{column.short}={column.text(other)}"
        for column, value, other in zip(found.columns, ours.values, theirs.values, strict=True)
        if value != other
    )


def _verdict(test: Difference, metric: Judged) -> str:
    """Say what the corrected test allows to say of the sign."""
    found = test.paired
    if found is None or found.low is None or found.high is None:
        return "one pair tells no spread"
    if found.p is None:
        return "the same in every pair" if found.difference == 0 else "all differences alike: no test"
    if test.p_holm is None or test.p_holm >= LEVEL:
        return "may be chance"
    if metric.lower_is_better is None:
        return "lower" if found.difference < 0 else "higher"
    return "better" if (found.difference < 0) == metric.lower_is_better else "worse"


def _to_place(value: float, deviation: float) -> str:
    place = 1 - math.floor(math.log10(deviation))
    if place > 8 or abs(value) >= 1e7:
        return f"{value:.3g}"
    # a deviation of 0.0996 is 0.10 with two digits, and has them one place before
    place -= deviation * 10.0**place >= 99.5
    return f"{value:.{max(place, 0)}f}"


def _signed(value: float, scale: float) -> str:
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    text = _to_place(value, abs(scale)) if scale and math.isfinite(scale) else number_text(value)
    return text.replace("-", "−") if value < 0 else f"+{text}"
