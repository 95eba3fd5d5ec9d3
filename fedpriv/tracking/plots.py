"""Plots of a run against rounds: metric, privacy, traffic and time."""

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fedpriv.privacy.rounded import at_most
from fedpriv.results import RoundResult

BLUE, ORANGE, GREEN, PINK, SKY, RED, GREY = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#CC79A7",
    "#56B4E9",
    "#D55E00",
    "#5A5A5A",
)
"""Colours that people with any colour vision tell apart (Okabe and Ito, 2008), and a grey."""

PHASES = {
    "train": ("train, wait", BLUE),
    "encrypt": ("encrypt", ORANGE),
    "aggregate": ("aggregate", GREEN),
    "decrypt": ("decrypt", PINK),
    "evaluate": ("evaluate", SKY),
}
"""Phase to (label, colour), from the bottom of the stack."""

_INK = "#222222"


def metric_plot(
    results: Sequence[RoundResult],
    name: str,
    label: str,
    baseline: float | None = None,
    baseline_label: str = "baseline",
) -> Figure:
    """Plot a task's metric on unseen people against rounds.

    Args:
        results: rounds in order; rounds that did not measure ``name`` are skipped.
        name: key in :attr:`RoundResult.metrics`.
        label: axis label with its unit.
        baseline: value of what needs no learning, drawn as a dashed line.
        baseline_label: written at that line.
    """
    figure, axes = _axes(label)
    rounds, values = _series(results, lambda result: result.metrics.get(name))
    _line(axes, rounds, values, BLUE)
    if baseline is not None:
        axes.axhline(baseline, color=GREY, linewidth=1.2, linestyle=(0, (5, 3)), zorder=1)
        axes.margins(y=0.12)
        above = bool(len(values)) and values[-1] > baseline
        axes.annotate(
            f"{baseline_label} {baseline:.4g}",
            (1.0, baseline),
            xycoords=axes.get_yaxis_transform(),
            xytext=(-2, -3 if above else 3),
            textcoords="offset points",
            ha="right",
            va="top" if above else "bottom",
            color=GREY,
            fontsize=9,
        )
    if len(values):
        _end_label(axes, rounds, values, f"{values[-1]:.4g}", BLUE)
    return figure


def epsilon_plot(results: Sequence[RoundResult], private: bool = False) -> Figure:
    """Plot the privacy spent so far (largest epsilon of any client) against rounds.

    Without differential privacy, or where nothing was released, the plot says so instead of showing a line.
    From the round on in which epsilon is infinite the line is a dashed one at the upper edge.

    Args:
        results: rounds in order.
        private: whether the run has differential privacy; so has one with any epsilon.
    """
    figure, axes = _axes("privacy loss ε")
    known = [(result.number, result.epsilon) for result in results if result.epsilon is not None]
    if not known:
        text = "ε = 0 (nothing was released)" if private else "no differential privacy"
        axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", color=GREY)
        axes.set_xticks([])
        axes.set_yticks([])
        return figure
    rounds, values = _series(results, lambda result: result.epsilon)
    _line(axes, rounds, values, RED)
    top = 1.15 * float(values.max(initial=0.0)) or 1.0
    axes.set_ylim(bottom=0, top=top)
    if infinite := [number for number, epsilon in known if np.isinf(epsilon)]:
        rounds, values = np.array(infinite, np.float64), np.full(len(infinite), top)
        axes.plot(rounds, values, color=RED, linewidth=2, marker="^", linestyle="--", clip_on=False)
    delta = next((result.delta for result in reversed(results) if result.delta is not None), None)
    if delta is not None:
        axes.set_ylabel(f"privacy loss ε at δ = {at_most(delta)}")
    axes.set_xlim(left=0)
    _end_label(axes, rounds, values, "ε = ∞" if infinite else f"ε = {at_most(values[-1])}", RED)
    return figure


def bytes_plot(results: Sequence[RoundResult]) -> Figure:
    """Plot the cumulative bytes to and from all clients against rounds, in MB (10^6 bytes)."""
    figure, axes = _axes("cumulative traffic (MB)")
    if not results:
        return figure
    rounds = np.array([result.number for result in results])
    ends = []
    for text, color, sizes in (
        ("down", BLUE, [result.bytes_down for result in results]),
        ("up", RED, [result.bytes_up for result in results]),
    ):
        total = np.cumsum(np.array(sizes, np.float64)) / 1e6
        _line(axes, rounds, total, color)
        ends.append((float(total[-1]), text, color))
    axes.set_ylim(bottom=0)
    top = max(axes.get_ylim()[1], 1e-9)
    close = abs(ends[0][0] - ends[1][0]) < 0.06 * top
    for (value, text, color), shift in zip(
        sorted(ends, key=lambda end: end[0]), (-6, 6) if close else (0, 0), strict=True
    ):
        _end_label(axes, rounds, np.array([value]), f"{text} {value:.3g} MB", color, shift)
    return figure


def seconds_plot(results: Sequence[RoundResult]) -> Figure:
    """Plot each round's wall seconds as a stack of phases.

    ``train`` contains ``encrypt`` (:attr:`RoundResult.seconds`), so the stack shows train without
    encrypt: max(0, train - encrypt); the height of a bar is the time on the server's clock.
    """
    figure, axes = _axes("time per round (s)")
    if not results:
        return figure
    rounds = np.array([result.number for result in results])
    known = [*PHASES, *sorted({phase for result in results for phase in result.seconds} - PHASES.keys())]
    seconds = {
        phase: np.array([result.seconds.get(phase, 0.0) for result in results], np.float64) for phase in known
    }
    seconds["encrypt"] = np.minimum(seconds["encrypt"], seconds["train"])
    seconds["train"] = seconds["train"] - seconds["encrypt"]
    bottom = np.zeros(len(rounds))
    width, edge = (0.8, 0.4) if len(rounds) <= 40 else (1.0, 0.0)
    for phase in known:
        if seconds[phase].any():
            text, color = PHASES.get(phase, (phase, GREY))
            axes.bar(
                rounds,
                seconds[phase],
                width,
                bottom,
                color=color,
                label=text,
                edgecolor="white",
                linewidth=edge,
            )
            bottom += seconds[phase]
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        # Reversed, so that the legend reads from top to bottom as the stack does.
        axes.legend(
            handles[::-1],
            labels[::-1],
            loc="upper left",
            bbox_to_anchor=(1.01, 1.0),
            frameon=False,
            fontsize=9,
        )
    axes.set_xlim(rounds.min() - 0.7, rounds.max() + 0.7)
    return figure


def _axes(label: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(6.4, 3.6), layout="constrained", facecolor="white")
    axes = figure.add_subplot()
    axes.set_xlabel("round", color=_INK)
    axes.set_ylabel(label, color=_INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#888888")
    axes.tick_params(colors=_INK, labelsize=9)
    axes.grid(axis="y", color="#E4E4E4", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=10, steps=[1, 2, 5, 10]))
    return figure, axes


def _series(
    results: Sequence[RoundResult], pick: Callable[[RoundResult], float | None]
) -> tuple[np.ndarray, np.ndarray]:
    pairs = [
        (result.number, value)
        for result in results
        if (value := pick(result)) is not None and np.isfinite(value)
    ]
    table = np.array(pairs, np.float64).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def _line(axes: Axes, rounds: np.ndarray, values: np.ndarray, color: str) -> None:
    few = len(rounds) <= 40
    axes.plot(rounds, values, color=color, linewidth=2, marker="o" if few else None, markersize=4)


def _end_label(
    axes: Axes, rounds: np.ndarray, values: np.ndarray, text: str, color: str, shift: float = 0.0
) -> None:
    axes.annotate(
        text,
        (float(rounds[-1]), float(values[-1])),
        xytext=(8, shift),
        textcoords="offset points",
        va="center",
        color=color,
        fontsize=10,
        fontweight="bold",
        annotation_clip=False,
    )
