"""The integers of a table, as they are encrypted: values, masks and squares for each column and part."""

from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal

import numpy as np
from numpy.typing import NDArray

from fedpriv.he.tables.csv_table import CsvTable, level_of
from fedpriv.he.tables.schema import Column, Schema


@dataclass(frozen=True)
class TableVectors:
    """The cells of a table under a schema.

    Attributes:
        values: (columns, rows) int64, x 10^d - offset; 0 where missing.
        masks: (columns, rows) int64, 1 where a value is there.
        parts: (rows,) the number of each row's scope, see :attr:`Schema.scopes`.
        bins: for each column with a histogram, by its number, (rows,) the bin of each row; -1 for none.
    """

    values: NDArray[np.int64]
    masks: NDArray[np.int64]
    parts: NDArray[np.int64]
    bins: dict[int, NDArray[np.int64]]

    @property
    def rows(self) -> int:
        """Number of rows."""
        return int(self.values.shape[1])


def vectors_of(table: CsvTable, schema: Schema, rounds: bool) -> TableVectors:
    """Return the integers of a table.

    Columns are found by name, in any order and spelling (:func:`~fedpriv.he.tables.csv_table.spelled`).

    Args:
        table: the cells.
        schema: what they are to be.
        rounds: whether cells with more decimals than the schema's are rounded, half to even.

    Raises:
        FormatError: naming line and column of a cell that is no number, lies outside the bounds, or has too
            many decimals.
        UserError: when a column is missing.
    """
    count = len(table)
    values = np.zeros((len(schema.columns), count), np.int64)
    masks = np.zeros((len(schema.columns), count), np.int64)
    bins = {}
    for place, column in enumerate(schema.columns):
        number = table.find(column.name)
        for row, cell in enumerate(table.numbers(number)):
            if cell is not None:
                values[place, row] = _integer(table, row, number, column, cell, rounds)
                masks[place, row] = 1
        if column.edges:
            bins[place] = _bins(column, values[place], masks[place])
        values[place] -= column.offset * masks[place]
    parts = np.full(count, len(schema.levels), np.int64)
    if schema.group:
        numbers = {level_of(level): number for number, level in enumerate(schema.levels)}
        group = table.find(schema.group)
        for row, level in enumerate(table.columns[group]):
            if level is None:
                continue
            if level_of(level) not in numbers:
                raise table.refuse(
                    row, group, f"{level[:40]!r} is no group of the schema; mend the cell, or the groups"
                )
            parts[row] = numbers[level_of(level)]
    return TableVectors(values, masks, parts, bins)


def _integer(table: CsvTable, row: int, number: int, column: Column, cell: Decimal, rounds: bool) -> int:
    scaled = cell.scaleb(column.decimals)
    whole = scaled.to_integral_value(rounding=ROUND_HALF_EVEN)
    if whole != scaled and not rounds:
        raise table.refuse(
            row, number, f"{cell}: more than {column.decimals} decimals; round them with --round"
        )
    if not column.low <= whole <= column.high:
        raise table.refuse(
            row,
            number,
            f"{cell} lies outside the bounds {column.shown(column.low)} to {column.shown(column.high)}; mend "
            f"the cell or give other --bounds",
        )
    return int(whole)


def _bins(column: Column, values: NDArray[np.int64], masks: NDArray[np.int64]) -> NDArray[np.int64]:
    edges = np.array(column.edges, np.int64)
    found = np.searchsorted(edges, values, side="right") - 1
    found[values == edges[-1]] = len(edges) - 2
    inside = (masks == 1) & (found >= 0) & (found < len(edges) - 1)
    return np.where(inside, found, -1).astype(np.int64)
