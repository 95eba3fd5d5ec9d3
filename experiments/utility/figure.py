"""The plot: a task's metric against epsilon, a panel per task, a line per level."""

import math
import statistics
from collections.abc import Sequence

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from experiments.utility.table import Row
from experiments.utility.trials import LEVELS, TASKS
from fedpriv.tracking.plots import BLUE, GREY, ORANGE

STYLES = {"sample": ("an image is protected", BLUE, "o"), "client": ("a client is protected", ORANGE, "s")}
"""Level to (label, colour, marker)."""

_INK = "#222222"
_ASIDE = 1.05
"""Factor that keeps the error bars of two levels apart."""

mpl.rcParams["svg.hashsalt"] = "fedpriv-utility"  # the same figures give the same file


def utility_plot(rows: Sequence[Row]) -> Figure:
    """Plot mean and sample standard deviation over seeds against epsilon, from tight to none.

    The axis of epsilon is logarithmic; runs without privacy stand at its right end, one step of the grid
    away and joined by a dotted line. Values without learning are dashed.

    Args:
        rows: of at least one task.
    """
    tasks = [task for task in TASKS if any(row.task == task for row in rows)]
    figure = Figure(figsize=(4.7 * len(tasks), 3.9), layout="constrained", facecolor="white")
    figure.get_layout_engine().set(wspace=0.06)  # type: ignore[union-attr, call-arg]
    panels = figure.subplots(1, len(tasks), squeeze=False)[0]
    for axes, task in zip(panels, tasks, strict=True):
        _panel(axes, task, [row for row in rows if row.task == task])
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False, fontsize=9.5)
    return figure


def _panel(axes: Axes, task: str, rows: Sequence[Row]) -> None:
    finite = sorted({row.epsilon for row in rows if math.isfinite(row.epsilon)}) or [1.0]
    end = finite[-1] * 3.0
    places = {epsilon: epsilon for epsilon in finite} | {math.inf: end}
    for index, level in enumerate(LEVELS):
        here = sorted((row for row in rows if row.level == level), key=lambda row: row.epsilon)
        if here:
            _line(axes, level, [places[row.epsilon] * _ASIDE ** (2 * index - 1) for row in here], here)
    baseline = statistics.fmean(row.baseline for row in rows)
    axes.axhline(baseline, color=GREY, linewidth=1.2, linestyle=(0, (5, 3)), zorder=1)
    axes.annotate(
        f"{TASKS[task].baseline_label} {baseline:.3g}",
        (1.0, baseline),
        xycoords=axes.get_yaxis_transform(),
        xytext=(-2, 3),
        textcoords="offset points",
        ha="right",
        va="bottom",
        color=GREY,
        fontsize=9,
    )
    axes.set_xscale("log")
    axes.set_xticks(list(places.values()), [*(f"{epsilon:g}" for epsilon in finite), "∞"])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlim(finite[0] / 1.35, end * 1.35)
    axes.set_ylim(0.0, 1.12 * max(baseline, *(row.mean + (row.deviation or 0.0) for row in rows)))
    deltas = sorted({f"{row.delta:.0e}".replace("e-0", "e-") for row in rows if row.delta is not None})
    at = f" at δ = {', '.join(deltas)}" if deltas else ""
    axes.set_xlabel(f"target ε{at}, log axis (∞: no privacy)", color=_INK)
    spec = TASKS[task].metric
    axes.set_ylabel(f"{spec.label}, {'lower' if spec.lower_is_better else 'higher'} is better", color=_INK)
    axes.set_title(f"{task}, people never trained on", fontsize=10.5, color=_INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#888888")
    axes.tick_params(colors=_INK, labelsize=9)
    axes.grid(axis="y", color="#E4E4E4", linewidth=0.8)
    axes.set_axisbelow(True)


def _line(axes: Axes, level: str, places: Sequence[float], rows: Sequence[Row]) -> None:
    label, color, marker = STYLES[level]
    means = [row.mean for row in rows]
    private = sum(math.isfinite(row.epsilon) for row in rows)
    axes.errorbar(
        places,
        means,
        yerr=[row.deviation or 0.0 for row in rows],
        color=color,
        marker=marker,
        markersize=5,
        linestyle="none",
        elinewidth=1.4,
        capsize=3.5,
        label=label,
    )
    axes.plot(places[:private], means[:private], color=color, linewidth=1.8)
    axes.plot(places[private - 1 :], means[private - 1 :], color=color, linewidth=1.4, linestyle=":")
