"""Plots of a comparison: a metric against rounds, epsilon, bytes and seconds."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from fedpriv.comparison.comparison import Comparison
from fedpriv.comparison.drawing import (
    MOST,
    Plot,
    axes_of,
    drawing,
    file_name,
    labels_of,
    legend,
    ring,
    style,
)
from fedpriv.comparison.frontier import frontier_plot
from fedpriv.comparison.groups import Group
from fedpriv.comparison.judged import Judged
from fedpriv.comparison.marks import (
    SPREAD,
    baseline,
    chosen,
    drawable,
    front_of,
    front_said,
    left_out,
    log_ticks,
    metric_label,
)
from fedpriv.comparison.statistics import Summary, summarise
from fedpriv.comparison.trials import Trial

_LOG_FROM = 20.0
"""Ratio of the largest to the smallest cost from which their axis is logarithmic."""


def plots_of(found: Comparison) -> list[Plot]:
    """Draw all that the runs have figures for: per metric up to four plots."""
    with drawing():
        drawn = [
            plot(found, metric)
            for metric in found.metrics
            for plot in (curves_plot, frontier_plot, bytes_plot, seconds_plot)
        ]
    plots = [plot for plot in drawn if plot is not None]
    names = [plot.name for plot in plots]  # two metrics may come to the same name of a file
    return [
        replace(plot, name=f"{plot.name}_{place}") if plot.name in names[:place] else plot
        for place, plot in enumerate(plots)
    ]


def curves_plot(found: Comparison, metric: Judged) -> Plot | None:
    """Draw a metric against rounds: a line per group, the mean over its finished runs, ± deviation as a band.

    A line goes through the rounds that all of a group's finished runs have. None if no group has two rounds.
    """
    lines = [(each, _mean_curve(each, metric.name)) for each in found.groups]
    lines = [(each, line) for each, line in lines if len(line) > 1]
    if not lines:
        return None
    figure, axes = axes_of("round", metric_label(metric))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=10, steps=[1, 2, 5, 10]))
    drawn = lines[:MOST]
    most = max(line[-1][1].n for _, line in drawn)
    labels = labels_of([each.parts for each, _ in drawn])
    for number, (label, (_, line)) in enumerate(zip(labels, drawn, strict=True)):
        look = style(number)
        rounds, means = [row[0] for row in line], np.array([row[1].mean for row in line])
        spread = np.array([row[1].deviation or 0.0 for row in line])
        axes.fill_between(
            rounds,
            means - spread,
            means + spread,
            color=look.color,
            alpha=0.16 if len(drawn) <= 4 else 0.08,
            linewidth=0,
        )
        axes.plot(
            rounds,
            means,
            color=look.color,
            linestyle=look.line,
            linewidth=1.8,
            marker=look.marker,
            markersize=4,
            markevery=max(1, len(rounds) // 12),
            label=label + ("" if line[-1][1].n == most else f" (n = {line[-1][1].n})"),
        )
    baseline(axes, found, metric)
    legend(axes)
    caption = "Mean over the finished runs of a group; band: ± sample standard deviation over seeds."
    caption += left_out(lines)
    return Plot(f"rounds_{file_name(metric.name)}", f"{metric.label} by round", caption, figure)


def bytes_plot(found: Comparison, metric: Judged) -> Plot | None:
    """Draw a metric against what all clients sent in a whole run; None without two groups that say."""
    return _cost_plot(
        found,
        metric,
        "bytes",
        "sent by all clients, up only, whole run (MB)",
        lambda trial: None if trial.bytes_up is None else trial.bytes_up / 1e6,
    )


def seconds_plot(found: Comparison, metric: Judged) -> Plot | None:
    """Draw a metric against the wall seconds of a round; None without two groups that say."""
    label = "wall time of a round, median (s)"
    return _cost_plot(found, metric, "seconds", label, lambda trial: trial.round_seconds)


def _cost_plot(
    found: Comparison, metric: Judged, name: str, xlabel: str, of: Callable[[Trial], float | None]
) -> Plot | None:
    points = [
        (each, cost, summary)
        for each in found.groups
        if (cost := each.cost(of)) is not None
        and (summary := each.summary(metric.name)) is not None
        and drawable(cost)
        and drawable(summary)
    ]
    costs = [cost.mean for _, cost, _ in points]
    if len(points) < 2 or not max(costs) > 0:
        return None
    log = min(costs) > 0 and max(costs) >= _LOG_FROM * min(costs)
    figure, axes = axes_of(f"{xlabel}{', log axis' if log else ''}", metric_label(metric))
    on_front = front_of(metric, [(cost.mean, summary.mean, "") for _, cost, summary in points])
    drawn = chosen(len(points), on_front)
    labels = labels_of([points[place][0].parts for place in drawn])
    for number, (label, place) in enumerate(zip(labels, drawn, strict=True)):
        _, cost, summary = points[place]
        look = style(number)
        axes.errorbar(
            [cost.mean],
            [summary.mean],
            xerr=[cost.deviation or 0.0],
            yerr=[summary.deviation or 0.0],
            color=look.color,
            linestyle="none",
            elinewidth=1.2,
            capsize=3,
        )
        # apart from its bars, so that the legend shows the marker alone
        axes.plot(
            [cost.mean],
            [summary.mean],
            color=look.color,
            marker=look.marker,
            markersize=7,
            linestyle="none",
            label=label,
        )
        if place in on_front:
            ring(axes, cost.mean, summary.mean)
    if log:
        axes.set_xscale("log")
        ticks = log_ticks(min(costs), max(costs))
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.xaxis.set_minor_locator(NullLocator())
    else:
        right = 1.05 * max(cost.mean + (cost.deviation or 0.0) for _, cost, _ in points)
        # from 0, and so that a marker at 0 is seen whole
        axes.set_xlim(left=-0.04 * right if min(costs) < 0.04 * right else 0, right=right)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    legend(axes)
    title = f"{metric.label} against {'upload' if name == 'bytes' else 'time'}"
    caption = f"{SPREAD[0].upper()}{SPREAD[1:]}.{front_said(metric)}{left_out(points, bool(on_front))}"
    return Plot(f"{name}_{file_name(metric.name)}", title, caption, figure)


def _mean_curve(each: Group, metric: str) -> list[tuple[int, Summary]]:
    curves = [trial.curves.get(metric, {}) for trial in each.finished if metric in trial.values]
    rounds = sorted(set.intersection(*map(set, curves))) if curves else []
    found = []
    for number in rounds:
        values = [curve[number] for curve in curves]
        summary = summarise(values) if all(map(math.isfinite, values)) else None
        if summary is not None and drawable(summary):
            found.append((number, summary))
    return found
