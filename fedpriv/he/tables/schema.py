"""What is public of a table: its columns with decimals and bounds, levels of its groups, edges of its bins.

Owners who pool their tables share one schema. Cells become integers: with d decimals and the offset o half
way between the bounds, x is stored as x 10^d - o, of magnitude at most ``reach``.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from fedpriv.errors import FormatError, UserError
from fedpriv.he.key_files import read_public
from fedpriv.he.strict_json import parse_object
from fedpriv.he.tables.csv_table import MOST_COLUMNS, level_of, spelled

MOST_DECIMALS = 12
MOST_LEVELS = 256
MOST_EDGES = 257
LARGEST = 1 << 56
"""Magnitude of bounds and edges, in units of a column."""
_VERSION = 2
_MOST_BYTES = 50_000
_NUMBER = re.compile(r"-?[0-9]{1,20}(\.[0-9]{1,12})?")


@dataclass(frozen=True)
class Column:
    """A column of numbers.

    Attributes:
        name: as the first owner spells it.
        decimals: d, digits after the point that are kept.
        low: public lower bound, in units of 10^-d.
        high: public upper bound, likewise.
        edges: of the histogram's bins, in the same units, ascending; bin b is [edge b, edge b + 1), the last
            one closed. Empty for no histogram.
        given: whether people gave the bounds; otherwise cells did, and they tell of them.
        fixed: whether people gave the decimals; likewise.
    """

    name: str
    decimals: int
    low: int
    high: int
    edges: tuple[int, ...] = ()
    given: bool = False
    fixed: bool = False

    @property
    def offset(self) -> int:
        """What is subtracted from every value, in units of 10^-d."""
        return (self.low + self.high) // 2

    @property
    def reach(self) -> int:
        """Largest magnitude of what is left."""
        return max(self.high - self.offset, self.offset - self.low, 1)

    @property
    def unit(self) -> int:
        """10^d."""
        return int(10**self.decimals)

    def shown(self, value: int) -> str:
        """Return an integer of this column as people write it."""
        return format(Decimal(value).scaleb(-self.decimals), "f")


@dataclass(frozen=True)
class Schema:
    """The public description of a table.

    Attributes:
        columns: that statistics are of.
        group: name of the column that rows are grouped by; "" for none.
        levels: its values, in order; a row with none counts for the whole table only.
        named: whether people named the levels; otherwise cells did, and they tell of them.
        pairs: whether sums over pairs of columns can be computed: covariance, correlation, weighted means.
    """

    columns: tuple[Column, ...]
    group: str = ""
    levels: tuple[str, ...] = field(default=())
    named: bool = False
    pairs: bool = True

    @property
    def scopes(self) -> tuple[str, ...]:
        """Parts that every row is in exactly one of: the levels, and ``""`` for the rest (or for all)."""
        return (*self.levels, "")

    def column(self, name: str) -> int:
        """Return the number of a column, by any spelling.

        Raises:
            UserError: when there is none.
        """
        for number, each in enumerate(self.columns):
            if spelled(each.name) == spelled(name):
                return number
        names = ", ".join(each.name for each in self.columns)
        raise UserError(f"{name!r}: no such column in the table; it has {names}")

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON; integers stay exact."""
        return {"version": _VERSION, **asdict(self)}

    def save(self, path: Path) -> None:
        """Write it, for the other owners of a pool.

        Raises:
            UserError: when it exists or cannot be written.
        """
        try:
            with path.open("x", encoding="utf-8") as file:
                file.write(json.dumps(self.to_json(), indent=1) + "\n")
        except FileExistsError as error:
            raise UserError(f"{path}: exists already; choose another name") from error
        except OSError as error:
            raise UserError(f"{path}: cannot write: {error.strerror}; choose another folder") from error

    @classmethod
    def load(cls, path: Path) -> "Schema":
        """Read what :meth:`save` wrote.

        Raises:
            UserError: when it cannot be read or is no schema.
        """
        return cls.from_json(path, parse_object(path, read_public(path, 1 << 20), "schema of a table"))

    @classmethod
    def from_json(cls, source: object, content: object) -> "Schema":
        """Read a schema from outside.

        Raises:
            FormatError: naming what is wrong.
        """
        try:
            schema = _schema(content)
            _check(schema)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise FormatError(source, None, f"is no schema of a table: {error}; get it again") from None
        require_small(schema)
        return schema


def _schema(content: Any) -> Schema:
    fields = {"version", "columns", "group", "levels", "named", "pairs"}
    if content["version"] != _VERSION or set(content) != fields:
        raise ValueError(f"fields or version are not known, this program reads version {_VERSION}")
    columns = tuple(_column(each) for each in content["columns"])
    group, levels, named, pairs = content["group"], content["levels"], content["named"], content["pairs"]
    if not (
        isinstance(group, str)
        and isinstance(levels, list | tuple)
        and all(isinstance(each, str) for each in levels)
        and type(named) is bool
        and type(pairs) is bool
    ):
        raise ValueError("group, levels or pairs")
    return Schema(columns, group, tuple(levels), named, pairs)


def _column(content: Mapping[str, Any]) -> Column:
    edges = tuple(content["edges"])
    numbers = (content["decimals"], content["low"], content["high"], *edges)
    if (
        len(content) != 7
        or type(content["given"]) is not bool
        or type(content["fixed"]) is not bool
        or not all(type(each) is int and abs(each) <= LARGEST for each in numbers)
    ):
        raise ValueError("numbers of a column")
    if not isinstance(content["name"], str):
        raise TypeError("name of a column")
    return Column(
        content["name"],
        content["decimals"],
        content["low"],
        content["high"],
        edges,
        content["given"],
        content["fixed"],
    )


def _check(schema: Schema) -> None:
    names = [spelled(each.name) for each in schema.columns]
    if not 1 <= len(names) <= MOST_COLUMNS or len(set(names)) != len(names):
        raise ValueError("columns: none, too many, or one twice")
    for column in schema.columns:
        if not (
            column.name.isprintable() and 0 <= column.decimals <= MOST_DECIMALS and column.low <= column.high
        ):
            raise ValueError(f"column {column.name[:40]!r}: decimals or bounds")
        edges = column.edges
        if edges and (not 2 <= len(edges) <= MOST_EDGES or list(edges) != sorted(set(edges))):
            raise ValueError(f"column {column.name[:40]!r}: edges")
    levels = schema.levels
    fine = all(each and each.isprintable() and len(each) <= 100 for each in levels)
    if (
        not fine
        or len({level_of(each) for each in levels}) != len(levels)
        or len(levels) > MOST_LEVELS
        or bool(levels) != bool(schema.group)
    ):
        raise ValueError("levels of the group")


def require_small(schema: Schema) -> None:
    """Refuse a schema that does not fit the header of a file.

    Raises:
        UserError: saying so.
    """
    size = len(json.dumps(schema.to_json(), separators=(",", ":")))
    if size > _MOST_BYTES:
        raise UserError(
            f"columns, levels and bins: {size} bytes of names and numbers, at most {_MOST_BYTES}; leave "
            f"some out"
        )


def in_units(name: str, text: str, decimals: int) -> int:
    """Return a number that somebody typed, in units of 10^-decimals.

    Raises:
        UserError: when it is no number, or has more decimals.
    """
    if not _NUMBER.fullmatch(text.strip()):
        raise UserError(f"{name}={text}: {text!r} is no number")
    value = Decimal(text.strip()).scaleb(decimals)
    if value != value.to_integral_value() or abs(value) > LARGEST:
        raise UserError(f"{name}={text}: more than the {decimals} decimals of the column, or too large")
    return int(value)
