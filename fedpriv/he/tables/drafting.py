"""A schema from a table: decimals and bounds where its owner gives none."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TypeVar

from fedpriv.errors import UserError
from fedpriv.he.tables.csv_table import CsvTable, spelled
from fedpriv.he.tables.schema import LARGEST, MOST_LEVELS, Column, Schema, in_units, require_small

_Value = TypeVar("_Value")

MOST_DRAFTED = 6
"""Decimals that are kept without being asked for."""


@dataclass(frozen=True)
class Wishes:
    """What the owner says of the table.

    Attributes:
        columns: names of those to take; none for all that hold numbers.
        decimals: by column; cells with more are rounded half to even.
        bounds: by column, two numbers as text.
        bins: by column, the edges as text.
        group: column to group by.
        pairs: whether pairs of columns are wanted.
    """

    columns: Sequence[str] = ()
    decimals: Mapping[str, int] = field(default_factory=dict)
    bounds: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    bins: Mapping[str, Sequence[str]] = field(default_factory=dict)
    group: str = ""
    pairs: bool = True


def draft(table: CsvTable, wishes: Wishes) -> Schema:
    """Return the schema of a table.

    Decimals are as many as the column's cells need. Bounds that nobody gave are the least and the greatest
    value of the column, each moved outward to two significant digits of the range: they are public, so that
    DP needs given ones.

    Edge cases:
        - Columns of text are left out, unless they were asked for.
        - A column without any value gets the bounds 0 and 1.

    Raises:
        UserError: naming the column, for a name that the table does not have, a cell that is no number, and
            decimals beyond :data:`MOST_DRAFTED` without a wish.
    """
    chosen = [table.find(name) for name in wishes.columns] or [
        number for number in range(len(table.names)) if not table.is_text(number)
    ]
    given = {table.find(name) for each in (wishes.decimals, wishes.bounds, wishes.bins) for name in each}
    if beyond := sorted(given - set(chosen)):
        raise UserError(
            f"{table.source}: column {table.names[beyond[0]]!r} is not among those taken, or is text"
        )
    if not chosen:
        raise UserError(f"{table.source}: no column holds numbers")
    levels = _levels(table, wishes.group) if wishes.group else ()
    group = table.names[table.find(wishes.group)] if wishes.group else ""
    columns = tuple(_column(table, number, wishes) for number in chosen)
    schema = Schema(columns, group, levels, wishes.pairs)
    require_small(schema)
    return schema


def _column(table: CsvTable, number: int, wishes: Wishes) -> Column:
    name = table.names[number]
    values = [value for value in table.numbers(number) if value is not None]
    decimals = _of(wishes.decimals, name)
    if decimals is None:
        decimals = max((_decimals(value) for value in values), default=0)
        if decimals > MOST_DRAFTED:
            raise UserError(
                f"{table.source}: column {name!r}: a cell has {decimals} decimals; say how many to keep, "
                f"e.g. --decimals {name}=4"
            )
    bounds = _of(wishes.bounds, name)
    if bounds is None:
        low, high = _outward(values, decimals)
    else:
        low, high = (in_units(f"--bounds {name}", each, decimals) for each in bounds)
        if low > high:
            raise UserError(f"--bounds {name}={bounds[0]}:{bounds[1]}: the lower one comes first")
    if max(-low, high) > LARGEST:
        raise UserError(
            f"{table.source}: column {name!r}: its values do not fit with {decimals} decimals; keep fewer "
            f"(--decimals {name}=D), or leave it out (--columns)"
        )
    edges = tuple(in_units(f"--bins {name}", each, decimals) for each in _of(wishes.bins, name) or ())
    if edges and (len(edges) < 2 or list(edges) != sorted(set(edges))):
        raise UserError(f"--bins {name}: at least two edges in ascending order")
    return Column(name, decimals, low, high, edges, bounds is not None)


def _levels(table: CsvTable, group: str) -> tuple[str, ...]:
    found = {cell for cell in table.columns[table.find(group)] if cell is not None}
    if len(found) > MOST_LEVELS:
        raise UserError(f"--group {group}: {len(found)} different values, at most {MOST_LEVELS}")
    if not found or not all(each.isprintable() and len(each) <= 100 for each in found):
        raise UserError(f"--group {group}: no values, or some that cannot be names of groups")
    return tuple(sorted(found, key=_natural))


def _natural(text: str) -> tuple[int, float, str]:
    try:
        return (0, float(text), text)
    except ValueError:
        return (1, 0.0, text)


def _decimals(value: Decimal) -> int:
    exponent = value.normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def _outward(values: list[Decimal], decimals: int) -> tuple[int, int]:
    if not values:
        return 0, 10**decimals
    low, high = (each.scaleb(decimals) for each in (min(values), max(values)))
    step = 10 ** max(0, len(str(math.ceil(high - low))) - 2)
    return math.floor(low / step) * step, math.ceil(high / step) * step


def _of(mapping: Mapping[str, _Value], name: str) -> _Value | None:
    return next((value for key, value in mapping.items() if spelled(key) == spelled(name)), None)
