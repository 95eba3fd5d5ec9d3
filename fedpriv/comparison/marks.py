"""What several plots of a comparison share: axes' labels and ticks, the front, the value without learning."""

import math
from collections.abc import Collection, Sequence

import numpy as np
from matplotlib.axes import Axes

from fedpriv.comparison.comparison import Comparison
from fedpriv.comparison.drawing import MOST, label_text
from fedpriv.comparison.judged import Judged
from fedpriv.comparison.pareto import front as pareto_front
from fedpriv.comparison.statistics import Summary
from fedpriv.tracking.plots import GREY

SPREAD = "bars: ± sample standard deviation over seeds"
RINGS = "Ringed: the Pareto front, which no other group beats in both means"
LARGEST = 1e30
"""What axes are drawn up to."""


def baseline(axes: Axes, found: Comparison, metric: Judged) -> None:
    """Draw what needs no learning, the mean over all finished runs, where they say it."""
    values = [
        value
        for each in found.groups
        for trial in each.finished
        if abs(value := trial.run.metrics.get(f"baseline_{metric.name}", math.nan)) < LARGEST
    ]
    if values:
        axes.axhline(
            float(np.mean(values)),
            color=GREY,
            linewidth=1.2,
            linestyle=(0, (2, 2)),
            zorder=1,
            label="without learning",
        )


def drawable(found: Summary | None) -> bool:
    """Tell whether axes can hold a mean and its deviation."""
    return found is not None and abs(found.mean) < LARGEST and (found.deviation or 0.0) < LARGEST


def front_of(metric: Judged, points: Sequence[tuple[float, float, str]]) -> list[int]:
    """Return the places of the Pareto front of points (cost, metric, kind), in order.

    Of several kinds each has a front, ``none`` is in all.

    Args:
        metric: says which way is better; there is no front where it does not.
        points: of all groups, also of those that are not drawn: they may beat those that are.
    """
    if metric.lower_is_better is None:
        return []
    sign = 1.0 if metric.lower_is_better else -1.0
    units = dict.fromkeys(unit for _, _, unit in points if unit != "none")
    ringed: dict[int, None] = {}
    for unit in units or {"none": None}:
        here = [place for place, (_, _, each) in enumerate(points) if each in (unit, "none")]
        on = pareto_front([(points[place][0], sign * points[place][1]) for place in here])
        ringed |= dict.fromkeys(place for place, on_it in zip(here, on, strict=True) if on_it)
    return sorted(ringed)


def chosen(count: int, front: Collection[int]) -> list[int]:
    """Return the places of the :data:`MOST` that are drawn, in order: those on the front before others."""
    return sorted(sorted(range(count), key=lambda place: place not in front)[:MOST])


def log_ticks(low: float, high: float) -> list[float]:
    """Return ticks of a log axis that read well: 1, 2, 3, 5 per decade where these are few, else fewer."""
    decades = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 2)
    ticks: list[float] = []
    for steps in ((1, 2, 3, 5, 8), (1, 2, 5), (1, 3), (1,)):
        ticks = [
            tick
            for decade in decades
            for step in steps
            if low / 1.2 <= (tick := step * 10.0**decade) <= high * 1.2
        ]
        if len(ticks) <= 7:
            return ticks or [low]
    return ticks[:: max(1, len(ticks) // 6)]


def metric_label(metric: Judged) -> str:
    """Return the label of a metric's axis, with the way that is better."""
    return f"{label_text(metric.label)}, {metric.sense}" if metric.sense else label_text(metric.label)


def front_said(metric: Judged) -> str:
    """Say in a caption what the rings are."""
    if metric.lower_is_better is None:
        return " Which way is better is not known: no Pareto front."
    return f" {RINGS}."


def left_out(points: Sequence[object], by_front: bool = False) -> str:
    """Say in a caption that not all groups are drawn, where that is so, and that the front chose them."""
    first = ", those on the front before others" if by_front else ""
    return f" {MOST} of {len(points)} groups are drawn{first}." if len(points) > MOST else ""
