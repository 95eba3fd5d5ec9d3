"""The privacy-utility frontier: a metric against the epsilon that was spent."""

import math

from matplotlib.ticker import NullLocator

from fedpriv.comparison.comparison import Comparison
from fedpriv.comparison.drawing import MOST, Plot, axes_of, file_name, labels_of, legend, style
from fedpriv.comparison.groups import Group
from fedpriv.comparison.judged import Judged
from fedpriv.comparison.marks import SPREAD, baseline, drawable, front_said, log_ticks, metric_label, rings
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
    drawn_at: dict[int, float] = {}
    series: dict[tuple[str, ...], list[tuple[int, Group, Summary]]] = {}
    for point in usable:
        series.setdefault(_series(found, point[1]), []).append(point)
    labels = labels_of(list(series)[:MOST])
    for number, (label, members) in enumerate(zip(labels, series.values(), strict=False)):
        look = style(number)
        members.sort(key=lambda point: place(point[1]))
        # side by side, where several series have spent the same
        aside = _ASIDE ** (number - (min(len(series), MOST) - 1) / 2)
        x, y = [place(each) * aside for _, each, _ in members], [summary.mean for _, _, summary in members]
        drawn_at |= {group: at for (group, _, _), at in zip(members, x, strict=True)}
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
    shown = [point for point in usable if point[0] in drawn_at]
    rings(
        axes,
        metric,
        [(place(each), summary.mean, _unit(each)) for _, each, summary in shown],
        [drawn_at[number] for number, _, _ in shown],
    )
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
    if len({_unit(each) for _, each, _ in usable} - {"none"}) > 1:
        caption += (
            " What protects images and what protects clients has a front each: their epsilons differ in kind."
        )
    if missing := len(points) - len(usable):
        caption += f" {missing} groups spent nothing, or do not say how much: not drawn."
    return Plot(f"frontier_{file_name(metric.name)}", f"{metric.label} against epsilon", caption, figure)


def _series(found: Comparison, each: Group) -> tuple[str, ...]:
    return tuple(
        f"{column.short}={column.text(value)}"
        for column, value in zip(found.columns, each.values, strict=True)
        if column.name not in ("privacy.epsilon", "privacy.noise_multiplier")
    )


def _unit(each: Group) -> str:
    return each.finished[0].run.tags.get("privacy_unit", "none") if each.finished else "none"
