"""Statistics as JSON and as lines of text."""

import math
from typing import Any

from fedpriv.he.tables.statistics import Floats, Statistics, statistics_of, weighted_means
from fedpriv.he.tables.sums import Sums

_MOST_SHOWN = 10


def as_json(sums: Sums, weights: str = "") -> dict[str, Any]:
    """Return all statistics of the opened sums; null where there are too few values.

    Args:
        sums: of all scopes.
        weights: column that weighted means are taken by; "" for none.

    Raises:
        UserError: when there is no such column.
    """
    schema, together = sums.schema, sums.together()
    weight = schema.column(weights) if weights else None
    found = _part(together, 0, weight)
    if schema.group:
        parts = {level: _part(sums, number, weight) for number, level in enumerate(schema.levels)}
        found["groups"] = {"by": schema.group, "parts": parts}
    if sums.bins:
        found["histograms"] = {
            column.name: {
                "edges": [float(column.shown(edge)) for edge in column.edges],
                "counts": [int(count) for count in sums.bins[number]],
            }
            for number, column in enumerate(schema.columns)
            if number in sums.bins
        }
    return found


def as_text(found: dict[str, Any]) -> str:
    """Return what :func:`as_json` returned, for people."""
    lines = _table(found)
    if "groups" in found:
        for level, part in found["groups"]["parts"].items():
            lines += ["", f"{found['groups']['by']} = {level}", *_table(part)]
    if "correlation" in found:
        lines += ["", "strongest correlations", *_strongest(found["correlation"])]
    for name, histogram in found.get("histograms", {}).items():
        lines += ["", f"histogram of {name}"]
        edges = histogram["edges"]
        for low, high, count in zip(edges, edges[1:], histogram["counts"], strict=False):
            lines.append(f"  {low:>12g} to {high:<12g} {count:>9}")
    return "\n".join(lines)


def _part(sums: Sums, scope: int, weight: int | None) -> dict[str, Any]:
    of = statistics_of(sums, scope)
    columns: dict[str, Any] = {
        name: {
            "count": count,
            "mean": _number(mean),
            "variance": _number(variance),
            "standard_deviation": _number(deviation),
        }
        for name, count, mean, variance, deviation in zip(
            of.names, of.counts, of.means, of.variances, of.deviations, strict=True
        )
    }
    if weight is not None:
        means = weighted_means(sums, scope, weight)
        for name, mean in zip(of.names, means, strict=True):
            columns[name]["weighted_mean"] = _number(mean)
    found: dict[str, Any] = {"columns": columns}
    if of.covariances is not None and of.correlations is not None:
        found["covariance"] = _square(of, of.covariances)
        found["correlation"] = _square(of, of.correlations)
    return found


def _square(of: Statistics, values: Floats) -> dict[str, dict[str, float | None]]:
    return {
        name: dict(zip(of.names, map(_number, row), strict=True))
        for name, row in zip(of.names, values, strict=True)
    }


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _table(part: dict[str, Any]) -> list[str]:
    columns = part["columns"]
    width = max(6, *(len(name) for name in columns))
    weighted = any("weighted_mean" in each for each in columns.values())
    head = f"{'column':{width}} {'n':>8} {'mean':>14} {'variance':>14} {'sd':>14}"
    lines = [head + (f" {'weighted mean':>14}" if weighted else "")]
    for name, each in columns.items():
        cells = [each["mean"], each["variance"], each["standard_deviation"]]
        cells += [each["weighted_mean"]] if weighted else []
        lines.append(
            f"{name:{width}} {each['count']:>8} " + " ".join(f"{_shown(cell):>14}" for cell in cells)
        )
    return lines


def _strongest(correlation: dict[str, dict[str, float | None]]) -> list[str]:
    names = list(correlation)
    pairs = [
        (value, first, second)
        for place, first in enumerate(names)
        for second in names[place + 1 :]
        if (value := correlation[first][second]) is not None
    ]
    pairs.sort(key=lambda pair: -abs(pair[0]))
    return [f"  {value:+.6f}  {first}, {second}" for value, first, second in pairs[:_MOST_SHOWN]]


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.8g}"
