"""Picture of who holds what: clients against classes (or people), and their sizes."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from fedpriv.data.partition.overview import ShareOverview
from fedpriv.tracking.plots import BLUE, ORANGE

_COLUMNS = 100
_WRITTEN = 160
_NAME = 18
_INK, _LINE = "#222222", "#888888"


def partition_plot(seen: ShareOverview) -> Figure:
    """Plot images per client above the mixture of labels that each client holds.

    Below is a heat map of clients by labels: what share of the client's images has the label. Its scale
    is the same for every partition (0 to 1, by the square root, so that small shares show) and from
    light to dark, so that it reads without colours. When labels are too many to tell apart, their number
    per client is shown instead.

    Up to 100 clients have a column each, in their order. More are sorted by their most frequent label
    and shown in 100 columns of about equally many: the mean, and for sizes the range too.
    """
    columns = _columns(seen)
    figure = Figure(figsize=(8.0, 5.2 if seen.names else 4.6), layout="constrained", facecolor="white")
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(1, 2.4 if seen.names else 1))
    _bars(top, seen.sizes, columns, BLUE)
    top.set_ylabel("images", color=_INK)
    kinds = "people" if seen.kind == "person" else "classes"
    title = f"{len(seen.sizes):,} clients, {int(seen.sizes.sum()):,} images, {seen.all_people:,} people"
    if seen.kind == "class":
        title += f", {seen.all_labels:,} classes"
    sizes = f"{seen.sizes.min():,} to {seen.sizes.max():,}, median {np.median(seen.sizes):,.0f}"
    top.set_title(f"{title}\nimages per client: {sizes}", fontsize=10, loc="left", color=_INK)
    if seen.names:
        _heat_map(figure, bottom, seen, columns)
    else:
        _bars(bottom, seen.labels, columns, ORANGE)
        bottom.set_ylabel(f"different {kinds}", color=_INK)
    _label_clients(bottom, seen, columns)
    return figure


def _columns(seen: ShareOverview) -> list[NDArray[np.int64]]:
    """Return the clients of every column."""
    count = len(seen.sizes)
    if count <= _COLUMNS:
        return list(np.arange(count)[:, None])
    if seen.names:
        order = np.lexsort((-seen.largest, seen.counts.argmax(axis=1)))
    else:
        order = np.lexsort((seen.labels, seen.sizes))
    return np.array_split(order, _COLUMNS)


def _bars(axes: Axes, values: NDArray[np.int64], columns: list[NDArray[np.int64]], colour: str) -> None:
    means = [float(values[clients].mean()) for clients in columns]
    places = np.arange(len(columns))
    axes.bar(places, means, width=0.8 if len(columns) <= 40 else 1.0, color=colour)
    if any(len(clients) > 1 for clients in columns):
        low = [values[clients].min() for clients in columns]
        high = [values[clients].max() for clients in columns]
        axes.vlines(places, low, high, color=_INK, linewidth=0.8)
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=4))
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_LINE)
    axes.grid(axis="y", color="#E4E4E4", linewidth=0.8)
    axes.set_axisbelow(True)


def _heat_map(figure: Figure, axes: Axes, seen: ShareOverview, columns: list[NDArray[np.int64]]) -> None:
    held = seen.counts / seen.sizes[:, None]
    table = np.stack([held[clients].mean(axis=0) for clients in columns], axis=1)
    drawn = axes.imshow(
        table, cmap="Blues", norm=PowerNorm(0.5, vmin=0, vmax=1), aspect="auto", interpolation="nearest"
    )
    names = [_short(name) for name in seen.names]
    axes.set_yticks(range(len(names)), names, fontsize=9 if len(names) <= 16 else 6)
    axes.set_ylabel("class" if seen.kind == "class" else "person", color=_INK)
    axes.spines[:].set_color(_LINE)
    bar = figure.colorbar(drawn, ax=axes, ticks=[0, 0.01, 0.1, 0.25, 0.5, 1], pad=0.01, fraction=0.05)
    bar.ax.set_yticklabels(["0", "1 %", "10 %", "25 %", "50 %", "100 %"], fontsize=8)
    bar.set_label("of the client's images", color=_INK, fontsize=9)
    if table.size <= _WRITTEN and table.shape[1] <= 16:
        for row, column in np.argwhere(table > 0):
            value = 100 * table[row, column]
            axes.text(
                column,
                row,
                f"{value:.0f}" if value >= 1 else "<1",
                ha="center",
                va="center",
                fontsize=8,
                color="white" if value > 35 else _INK,
            )


def _label_clients(axes: Axes, seen: ShareOverview, columns: list[NDArray[np.int64]]) -> None:
    axes.set_xlim(-0.5, len(columns) - 0.5)
    if len(seen.sizes) == len(columns):
        axes.set_xlabel("client", color=_INK)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=20, steps=[1, 2, 5, 10], min_n_ticks=1))
        return
    key = f"most frequent {seen.kind}" if seen.names else "size"
    each = len(seen.sizes) / len(columns)
    axes.set_xlabel(
        f"clients, sorted by their {key}, {each:.3g} to a column (bar: mean, line: range)", color=_INK
    )
    axes.set_xticks([])


def _short(name: str) -> str:
    """Return a name of a file or a label as text that the picture's font has."""
    # beyond Cyrillic the font has gaps, and a dollar sign would start a formula
    plain = "".join(sign if sign.isprintable() and ord(sign) < 0x0530 else "?" for sign in name)
    cut = plain if len(plain) <= _NAME else f"{plain[: _NAME - 3]}..."
    return cut.replace("$", r"\$")
