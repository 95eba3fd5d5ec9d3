"""The privacy-utility frontier: a metric against the epsilon that was spent."""

import math

from matplotlib.ticker import NullLocator

from fedpriv.comparison.comparison import Comparison
from fedpriv.comparison.drawing import MOST, Plot, axes_of, file_name, labels_of, legend, ring, style
from fedpriv.comparison.groups import Group
from fedpriv.comparison.judged import Judged
from fedpriv.comparison.marks import (
    SPREAD,
    baseline,
    chosen,
    drawable,
    front_of,
    front_said,
    log_ticks,
    metric_label,
)
from fedpriv.comparison.statistics import Summary

_LEAST, _MOST = 1e-6, 1e9
"""Epsilons that the axis can hold."""
_ASIDE = 1.04
"""Factor that keeps the points of two series apart."""


def frontier_plot(found: Comparison, metric: Judged) -> Plot | None:
    """Draw a metric against the epsilon that was spent (log axis); no privacy stands at its right end.

    Groups that differ in epsilon or noise multiplier alone are one line. None if no finite epsilon was spent.
    """
    points = [
        (number, each, summary)
        for number, each in enumerate(found.groups)
        if (summary := each.summary(metric.name)) is not None and drawable(summary)
    ]
    finite = [each.epsilon for _, each, _ in points if each.epsilon and _LEAST < each.epsilon < _MOST]
    if not finite:
        return None
    low, high = min(finite), max(finite)
    end = high * max(3.0, (high / low) ** 0.3)

    def place(each: Group) -> float:
        return end if each.epsilon is None or math.isinf(each.epsilon) else each.epsilon

    usable = [point for point in points if place(point[1]) == end or low <= place(point[1]) <= high]
    figure, axes = axes_of("epsilon spent (log axis)", metric_label(metric))
    series: dict[tuple[str, ...], list[tuple[int, Group, Summary]]] = {}
    for point in usable:
        series.setdefault(_series(found, point[1]), []).append(point)
    on_front = {
        usable[spot][0]
        for spot in front_of(
            metric, [(place(each), summary.mean, each.privacy_unit) for _, each, summary in usable]
        )
    }
    lines = list(series.items())
    holding = [n for n, (_, members) in enumerate(lines) if any(group in on_front for group, _, _ in members)]
    drawn = [lines[number] for number in chosen(len(lines), holding)]
    labels = labels_of([name for name, _ in drawn])
    for number, (label, (_, members)) in enumerate(zip(labels, drawn, strict=True)):
        look = style(number)
        members.sort(key=lambda point: place(point[1]))
        # side by side, where several series have spent the same
        aside = _ASIDE ** (number - (len(drawn) - 1) / 2)
        x, y = [place(each) * aside for _, each, _ in members], [summary.mean for _, _, summary in members]
        axes.errorbar(
            x,
            y,
            yerr=[summary.deviation or 0.0 for _, _, summary in members],
            color=look.color,
            linestyle="none",
            elinewidth=1.3,
            capsize=3.5,
        )
        axes.plot(
            x,
            y,
            color=look.color,
            marker=look.marker,
            markersize=6,
            linestyle="none",
            label=label if len(series) > 1 else None,
        )
        private = sum(place(each) < end for _, each, _ in members)
        axes.plot(x[:private], y[:private], color=look.color, linestyle=look.line, linewidth=1.6)
        if private:
            axes.plot(x[private - 1 :], y[private - 1 :], color=look.color, linestyle=":", linewidth=1.3)
        for (group, _, summary), at in zip(members, x, strict=True):
            if group in on_front:
                ring(axes, at, summary.mean)
    axes.set_xscale("log")
    ticks = log_ticks(low, high)
    none = any(place(each) == end for _, each, _ in usable)
    infinite = any(each.epsilon is not None and math.isinf(each.epsilon) for _, each, _ in usable)
    said = "no privacy\nor ε = ∞" if infinite else "no\nprivacy"
    axes.set_xticks(
        [*ticks, *([end] if none else [])], [*(f"{tick:g}" for tick in ticks), *([said] if none else [])]
    )
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlim(low / 1.3, (end if none else high) * 1.3)
    baseline(axes, found, metric)
    legend(axes)
    caption = f"Epsilon: the largest that a run of the group states; {SPREAD}.{front_said(metric)}"
    if len({each.privacy_unit for _, each, _ in usable} - {"none"}) > 1:
        caption += (
            " What protects images and what protects clients has a front each: their epsilons differ in kind."
        )
    if len(lines) > MOST:
        first = ", those on the front before others" if on_front else ""
        caption += f" {MOST} of {len(lines)} lines are drawn{first}."
    if missing := len(points) - len(usable):
        caption += f" {missing} groups spent nothing, or do not say how much: not drawn."
    return Plot(f"frontier_{file_name(metric.name)}", f"{metric.label} against epsilon", caption, figure)


def _series(found: Comparison, each: Group) -> tuple[str, ...]:
    return tuple(
        f"{column.short}={column.text(value)}"
        for column, value in zip(found.columns, each.values, strict=True)
        if column.name not in ("privacy.epsilon", "privacy.noise_multiplier")
    )
