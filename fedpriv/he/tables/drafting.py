"""A schema from a table: decimals, bounds and groups where its owner gives none.

A schema is public. What is drafted from cells tells of them: bounds the power of two that no value passes,
decimals the most that a cell has, levels which groups there are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TypeVar

from fedpriv.errors import UserError
from fedpriv.he.tables.csv_table import CsvTable, level_of, spelled
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
        levels: its values; none to draft them.
        pairs: whether pairs of columns are wanted.
    """

    columns: Sequence[str] = ()
    decimals: Mapping[str, int] = field(default_factory=dict)
    bounds: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    bins: Mapping[str, Sequence[str]] = field(default_factory=dict)
    group: str = ""
    levels: Sequence[str] = ()
    pairs: bool = True


def draft(table: CsvTable, wishes: Wishes) -> Schema:
    """Return the schema of a table.

    Decimals are as many as the column's cells need. Bounds that nobody gave are -2^k and 2^k, k >= 0 as
    small as holds every value: of the values they tell k and nothing else. DP needs given ones, for they,
    decimals and levels change with single rows.

    Edge cases:
        - Columns of text are left out, unless they were asked for.
        - A column without any value gets the bounds -1 and 1, as one of zeros and ones.

    Raises:
        UserError: naming the column, for a name that the table does not have, a cell that is no number, text
            that would be numbers but for commas, and decimals beyond :data:`MOST_DRAFTED` without a wish.
    """
    chosen = [table.find(name) for name in wishes.columns] or _numeric(table, wishes.group)
    given = {table.find(name) for each in (wishes.decimals, wishes.bounds, wishes.bins) for name in each}
    if beyond := sorted(given - set(chosen)):
        raise UserError(
            f"{table.source}: column {table.names[beyond[0]]!r} is not among those taken, or is text"
        )
    if not chosen:
        raise UserError(f"{table.source}: no column holds numbers")
    if wishes.levels and not wishes.group:
        raise UserError("--levels: are those of --group; name its column")
    levels = _levels(table, wishes) if wishes.group else ()
    group = table.names[table.find(wishes.group)] if wishes.group else ""
    columns = tuple(_column(table, number, wishes) for number in chosen)
    schema = Schema(columns, group, levels, bool(wishes.levels), wishes.pairs)
    require_small(schema)
    return schema


def _numeric(table: CsvTable, group: str) -> list[int]:
    """Return the columns that hold numbers; the others are left out."""
    text = [number for number in range(len(table.names)) if table.is_text(number)]
    for number in text:
        if spelled(table.names[number]) != spelled(group):
            table.require_no_commas(number)
    return [number for number in range(len(table.names)) if number not in text]


def _column(table: CsvTable, number: int, wishes: Wishes) -> Column:
    name = table.names[number]
    values = [value for value in table.numbers(number) if value is not None]
    decimals, bounds = _of(wishes.decimals, name), _of(wishes.bounds, name)
    fixed = decimals is not None
    if decimals is None:
        decimals = max((_decimals(value) for value in values), default=0)
        if decimals > MOST_DRAFTED:
            raise UserError(
                f"{table.source}: column {name!r}: a cell has {decimals} decimals; say how many to keep, "
                f"e.g. --decimals {name}=4"
            )
    if bounds is None:
        high = _magnitude(values) * 10**decimals
        low = -high
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
    return Column(name, decimals, low, high, edges, bounds is not None, fixed)


def _levels(table: CsvTable, wishes: Wishes) -> tuple[str, ...]:
    group = wishes.group
    cells = table.columns[table.find(group)]
    if wishes.levels:
        named = tuple(level_of(each.strip()) for each in wishes.levels)
        if len(set(named)) != len(named) or not all(named):
            raise UserError(f"--levels {' '.join(named)}: one is empty, or there twice")
        found = set(named)
    else:
        named, found = (), {level_of(cell) for cell in cells if cell is not None}
    if len(found) > MOST_LEVELS:
        raise UserError(f"--group {group}: {len(found)} different values, at most {MOST_LEVELS}")
    if not found or not all(each.isprintable() and len(each) <= 100 for each in found):
        raise UserError(f"--group {group}: no values, or some that cannot be names of groups")
    return named or tuple(sorted(found, key=_natural))


def _natural(text: str) -> tuple[int, float, str]:
    try:
        return (0, float(text), text)
    except ValueError:
        return (1, 0.0, text)


def _decimals(value: Decimal) -> int:
    exponent = value.normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def _magnitude(values: list[Decimal]) -> int:
    largest, found = max((abs(value) for value in values), default=Decimal(0)), 1
    while found < largest:
        found *= 2
    return found


def _of(mapping: Mapping[str, _Value], name: str) -> _Value | None:
    return next((value for key, value in mapping.items() if spelled(key) == spelled(name)), None)
