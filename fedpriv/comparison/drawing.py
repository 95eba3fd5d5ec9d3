"""How plots of a comparison look: colours, labels of untrusted text, axes, files."""

import contextlib
import io
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fedpriv.comparison.text import shown
from fedpriv.tracking.plots import BLUE, GREEN, ORANGE, PINK, RED, SKY

MOST = 12
"""Groups that one plot shows: more cannot be told apart."""
INK = "#222222"

_COLORS = (BLUE, RED, GREEN, PINK, SKY, ORANGE)
_LINES: tuple[str | tuple[int, tuple[int, ...]], ...] = ("-", (0, (5, 2)))
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "h", "*")
_LABEL = 36


@dataclass(frozen=True)
class Plot:
    """A drawn figure.

    Attributes:
        name: of its files, without ending; letters, digits and underscores.
        title: for people.
        caption: what is drawn and what is not.
        figure: the picture.
    """

    name: str
    title: str
    caption: str
    figure: Figure


@dataclass(frozen=True)
class Style:
    """How one of at most :data:`MOST` groups is drawn; no two alike, also without colours."""

    color: str
    line: str | tuple[int, tuple[int, ...]]
    marker: str


def style(number: int) -> Style:
    """Return the style of a group: six colours (Okabe and Ito 2008), solid, then dashed; each its marker."""
    place = number % MOST
    return Style(_COLORS[place % len(_COLORS)], _LINES[place // len(_COLORS)], _MARKERS[place])


def label_text(text: str) -> str:
    """Return a label as it is drawn."""
    return shown(text, _LABEL)


def labels_of(groups: Sequence[Sequence[str]]) -> list[str]:
    """Return what tells groups apart in a legend: of their parts those that differ, on lines.

    Args:
        groups: a text for each setting, all of one length.
    """
    told = [place for place, texts in enumerate(zip(*groups, strict=True)) if len(set(texts)) > 1]
    labels = ["\n".join(_lines([label_text(parts[place]) for place in told])) for parts in groups]
    # long texts that begin alike are cut to the same
    return [
        label if labels.count(label) == 1 else f"{label} #{labels[: place + 1].count(label)}"
        for place, label in enumerate(labels)
    ]


def _lines(parts: Sequence[str]) -> list[str]:
    lines: list[str] = []
    for part in parts:
        if lines and len(lines[-1]) + 2 + len(part) <= _LABEL:
            lines[-1] += f", {part}"
        else:
            lines.append(part)
    return lines or ["all runs"]


def file_name(text: str) -> str:
    """Return a name of letters, digits and underscores, for a file."""
    return re.sub(r"[^A-Za-z0-9]+", "_", text)[:60].strip("_") or "metric"


@contextlib.contextmanager
def drawing() -> Iterator[None]:
    """Draw and save in this block: a dollar sign starts no formula, the same figure gives the same file.

    What the font has no sign for is drawn as a box, without a word.
    """
    with (
        mpl.rc_context({"text.parse_math": False, "svg.hashsalt": "fedpriv-compare", "svg.fonttype": "path"}),
        warnings.catch_warnings(),
    ):
        warnings.filterwarnings("ignore", message=r"Glyph \d+", category=UserWarning)
        yield


def axes_of(xlabel: str, ylabel: str) -> tuple[Figure, Axes]:
    """Return an empty figure with its axes."""
    figure = Figure(figsize=(7.6, 4.2), layout="constrained", facecolor="white")
    axes = figure.add_subplot()
    axes.set_xlabel(xlabel, color=INK)
    axes.set_ylabel(ylabel, color=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#888888")
    axes.tick_params(colors=INK, labelsize=9)
    axes.grid(color="#E8E8E8", linewidth=0.8)
    axes.set_axisbelow(True)
    return figure, axes


def legend(axes: Axes) -> None:
    """Put the legend, if there is anything to name, to the right of the axes."""
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        axes.legend(
            handles,
            labels,
            loc="upper left",
            bbox_to_anchor=(1.01, 1.0),
            frameon=False,
            fontsize=8.5,
            handlelength=2.6,
        )


def ring(axes: Axes, x: float, y: float) -> None:
    """Mark a point of the Pareto front."""
    axes.plot(
        [x],
        [y],
        marker="o",
        markersize=15,
        markerfacecolor="none",
        markeredgecolor=INK,
        markeredgewidth=1.3,
        linestyle="none",
        zorder=5,
    )


def rendered(figure: Figure, kind: Literal["png", "svg"]) -> bytes:
    """Return a figure as the content of a file; the same figure gives the same bytes."""
    content = io.BytesIO()
    with drawing():
        figure.savefig(content, format=kind, dpi=120, metadata={"Date": None} if kind == "svg" else None)
    return content.getvalue()
