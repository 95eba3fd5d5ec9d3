"""The sums that a result opens to, as integers by part and columns."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fedpriv.he.tables.packing import ACROSS, Packing
from fedpriv.he.tables.plan import Block, TablePlan
from fedpriv.he.tables.schema import Schema

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Sums:
    """Sums over rows, x standing for x 10^d - offset and every product only where both values are there.

    Attributes:
        schema: of the table.
        pairs: whether those of pairs are there.
        counts: (scopes, columns): rows with a value.
        totals: (scopes, columns): sum x.
        squares: (scopes, columns): sum x^2.
        counts_of_pairs: (scopes, columns, columns): rows where both are there; symmetric.
        totals_of_pairs: [s, i, j]: sum of x_i where j is there, too.
        squares_of_pairs: [s, i, j]: sum of x_i^2 likewise.
        products: [s, i, j]: sum of x_i x_j; symmetric.
        bins: counts of each histogram's bins, by column.
    """

    schema: Schema
    pairs: bool
    counts: Integers
    totals: Integers
    squares: Integers
    counts_of_pairs: Integers
    totals_of_pairs: Integers
    squares_of_pairs: Integers
    products: Integers
    bins: dict[int, Integers] = field(default_factory=dict)

    def together(self) -> "Sums":
        """Return the sums over all parts: one scope."""
        added = {
            name: getattr(self, name).sum(axis=0, keepdims=True)
            for name in (
                "counts",
                "totals",
                "squares",
                "counts_of_pairs",
                "totals_of_pairs",
                "squares_of_pairs",
                "products",
            )
        }
        return Sums(self.schema, self.pairs, bins=self.bins, **added)


_OF_PAIRS = {"mm": "counts_of_pairs", "xm": "totals_of_pairs", "qm": "squares_of_pairs", "xx": "products"}
_OF_COLUMNS = {"m1": "counts", "x1": "totals", "q1": "squares"}


def gather(schema: Schema, pairs: bool, values: Iterable[Integers]) -> Sums:
    """Return the sums that the opened blocks of a result hold.

    Args:
        schema: of the table.
        pairs: which result it is.
        values: of each block in order, what its targets hold, (left, right).
    """
    plan, d = TablePlan(schema), len(schema.columns)
    scopes = len(schema.scopes)
    found = {name: np.zeros((scopes, d), np.int64) for name in _OF_COLUMNS.values()}
    found |= {
        name: np.zeros((scopes, d, d) if pairs else (scopes, 0, 0), np.int64) for name in _OF_PAIRS.values()
    }
    bins = np.zeros(len(plan.bins), np.int64)
    for block, held in zip(plan.blocks(pairs), values, strict=True):
        rows = slice(ACROSS * block.left.pack, ACROSS * block.left.pack + held.shape[0])
        columns = slice(ACROSS * block.right.pack, ACROSS * block.right.pack + held.shape[1])
        kind = block.left.kind + block.right.kind
        if kind == "h1":
            bins[rows] = held[:, 0]
        elif kind in _OF_COLUMNS:
            found[_OF_COLUMNS[kind]][block.left.scope, rows] = held[:, 0]
        else:
            target = found[_OF_PAIRS[kind]][block.left.scope]
            target[rows, columns] = held
            if kind in ("mm", "xx"):
                target[columns, rows] = (
                    held.T if block.left.pack != block.right.pack else np.triu(held) + np.triu(held, 1).T
                )
    if pairs:
        for name, source in (("counts", "mm"), ("totals", "xm"), ("squares", "xx")):
            found[name] = np.ascontiguousarray(np.diagonal(found[_OF_PAIRS[source]], axis1=1, axis2=2))
    counts = {
        c: np.array([bins[n] for n, (each, _) in enumerate(plan.bins) if each == c]) for c, _ in plan.bins
    }
    return Sums(schema, pairs, bins=counts, **found)


def values_of(block: Block, plan: TablePlan, packing: Packing, coefficients: Integers) -> Integers:
    """Return what the targets of an opened block hold, (left, right)."""
    return coefficients[packing.targets(plan.size(block.left), plan.size(block.right))]
