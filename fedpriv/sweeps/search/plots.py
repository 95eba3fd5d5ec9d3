"""Plots of a search: what was found trial by trial, what mattered, and the Pareto front."""

import math
import warnings
from collections.abc import Sequence
from itertools import accumulate, combinations
from typing import Literal

import optuna
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, NullLocator

from fedpriv.comparison.drawing import Plot, axes_of, drawing, file_name, label_text, legend, ring
from fedpriv.comparison.marks import log_ticks
from fedpriv.sweeps.search.objectives import Objective
from fedpriv.sweeps.search.storage import quiet_optuna
from fedpriv.sweeps.search.study import Study
from fedpriv.sweeps.search.trials import Told
from fedpriv.tracking.plots import BLUE, GREY, RED

_FEWEST = 8
"""Complete trials from which importances are stated."""
_LOG_FROM = 10.0
_LARGEST = 1e300


def plots_of(study: Study) -> list[Plot]:
    """Draw what there are figures for.

    The history of each objective; importances of the settings; a Pareto front for each pair of objectives.
    """
    ended, best = study.ended, {each.number for each in study.best}
    alone = len(study.objectives) == 2
    with drawing():
        drawn = [_history(ended, place, each) for place, each in enumerate(study.objectives)]
        drawn += [_importances(study, place, each) for place, each in enumerate(study.objectives)]
        drawn += [
            _front(ended, best, (one, other), (study.objectives[one], study.objectives[other]), alone)
            for one, other in combinations(range(len(study.objectives)), 2)
        ]
    return [plot for plot in drawn if plot is not None]


def _history(ended: Sequence[Told], place: int, objective: Objective) -> Plot | None:
    """Draw an objective against the number of the trial, and the best so far as a line."""
    complete = [
        (each.number, each.values[place]) for each in ended if each.values and _finite(each.values[place])
    ]
    if not complete:
        return None
    figure, axes = axes_of("trial", _axis(objective))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=10, steps=[1, 2, 5, 10]))
    numbers, values = [row[0] for row in complete], [row[1] for row in complete]
    best = list(accumulate(values, min if objective.lower_is_better else max))
    last = max(each.number for each in ended)
    axes.step(
        [*numbers, last], [*best, best[-1]], where="post", color=RED, linewidth=1.6, label="best so far"
    )
    _mark(axes, list(zip(numbers, values, strict=True)), "complete")
    pruned = [
        (each.number, each.by_round[max(each.by_round)])
        for each in ended
        if each.state == "pruned" and each.by_round
    ]
    if pruned:
        _mark(axes, pruned, "pruned (at its last round)", GREY, "x")
    failed = sum(each.state == "failed" for each in ended)
    legend(axes)
    caption = f"{objective.label}, {objective.sense}. {failed} failed trials are not drawn."
    caption += _left_out(ended, len(complete))
    return Plot(f"history_{file_name(objective.name)}", f"{objective.label} by trial", caption, figure)


def _importances(study: Study, place: int, objective: Objective) -> Plot | None:
    """Draw how much each setting mattered for being among the best, by PED-ANOVA.

    Watanabe, Bansal and Hutter (2023), arXiv 2304.10255.
    """
    complete = [each for each in study.ended if each.values and _finite(each.values[place])]
    if len(complete) < _FEWEST or len(study.space.searched) < 2:
        return None
    sign = 1.0 if objective.lower_is_better else -1.0  # it looks for low values
    with quiet_optuna():
        warnings.simplefilter("ignore", UserWarning)  # it says so each time
        try:
            found = optuna.importance.get_param_importances(
                study.optuna,
                evaluator=optuna.importance.PedAnovaImportanceEvaluator(),
                target=lambda trial: sign * float(trial.values[place]),
            )
        except (ValueError, RuntimeError):  # of settings that no two trials differ in
            return None
    if not found or not all(map(math.isfinite, found.values())):
        return None
    figure, axes = axes_of(label_text(f"importance for {objective.label}, share"), "")
    names, shares = list(found)[::-1], list(found.values())[::-1]
    axes.barh([label_text(name) for name in names], shares, color=BLUE, height=0.6)
    axes.set_xlim(0, max(1.0, 1.02 * max(shares)))
    axes.grid(axis="y", visible=False)
    return Plot(
        f"importances_{file_name(objective.name)}",
        f"What mattered for {objective.label}",
        f"PED-ANOVA over {len(complete)} complete trials: a sketch, not a test.",
        figure,
    )


def _front(
    ended: Sequence[Told],
    best: set[int],
    places: tuple[int, int],
    pair: tuple[Objective, Objective],
    alone: bool,
) -> Plot | None:
    """Draw two objectives against each other; trials of the front of all objectives are ringed."""
    points = [
        (each.number, each.values[places[0]], each.values[places[1]])
        for each in ended
        if each.values and _finite(each.values[places[0]]) and _finite(each.values[places[1]])
    ]
    if not points:
        return None
    figure, axes = axes_of(_axis(pair[1]), _axis(pair[0]))
    _mark(axes, [(row[2], row[1]) for row in points], "complete (ringed: Pareto front)")
    front = sorted((row[2], row[1], row[0]) for row in points if row[0] in best)
    for x, y, number in front:
        ring(axes, x, y)
        axes.annotate(str(number), (x, y), xytext=(9, 6), textcoords="offset points", fontsize=8.5)
    if alone:  # with a third objective, what is seen of the front in two is no line
        axes.step(
            [row[0] for row in front],
            [row[1] for row in front],
            where="post" if pair[1].lower_is_better else "pre",
            color=RED,
            linewidth=1.2,
            zorder=1,
        )
    _scale(axes, "x", [row[2] for row in points])
    _scale(axes, "y", [row[1] for row in points])
    legend(axes)
    caption = f"Ringed, with their numbers: the {len(front)} of {len(points)} trials on the Pareto front."
    caption += _left_out(ended, len(points))
    name = f"front_{file_name(pair[0].name)}_{file_name(pair[1].name)}"
    return Plot(name, f"{pair[0].label} against {pair[1].label}", caption, figure)


def _axis(objective: Objective) -> str:
    return f"{label_text(objective.label)}, {objective.sense}"


def _mark(
    axes: Axes, points: Sequence[tuple[float, float]], label: str, colour: str = BLUE, marker: str = "o"
) -> None:
    x, y = zip(*points, strict=True)
    axes.plot(x, y, color=colour, marker=marker, markersize=6, linestyle="none", label=label)


def _left_out(ended: Sequence[Told], drawn: int) -> str:
    """Say how many complete trials have no place in a plot."""
    count = sum(bool(each.values) for each in ended) - drawn
    return f" {count} with an infinite value {'is' if count == 1 else 'are'} not drawn." if count else ""


def _scale(axes: Axes, which: Literal["x", "y"], values: Sequence[float]) -> None:
    if min(values) > 0 and max(values) >= _LOG_FROM * min(values):
        ticks = log_ticks(min(values), max(values))
        axes.set(**{f"{which}scale": "log", f"{which}ticks": ticks})
        axis = axes.xaxis if which == "x" else axes.yaxis
        axis.set_ticklabels([f"{tick:g}" for tick in ticks])
        axis.set_minor_locator(NullLocator())


def _finite(value: float) -> bool:
    return abs(value) < _LARGEST
