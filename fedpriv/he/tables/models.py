"""A linear or logistic model as a server evaluates it on encrypted rows: plain weights, integers throughout.

The score of a row is b + sum_j w_j x_j, with v_j in the place of x_j where the row has none:

    b + sum_j w_j v_j + sum_j (w_j / 10^d_j) x'_j + sum_j w_j (o_j / 10^d_j - v_j) m_j

in the encrypted x' = (x 10^d - o) m and m. Factors are rounded to multiples of 2^-f, f as large as fits.
"""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from fedpriv.errors import FormatError, UserError
from fedpriv.he.key_files import read_public
from fedpriv.he.strict_json import parse_object
from fedpriv.he.tables.schema import Schema

KINDS = ("linear", "logistic")
MOST_BITS = 48
LEAST_BITS = 16
_MOST_BYTES = 1 << 20


@dataclass(frozen=True)
class TableModel:
    """Coefficients by column, as in the file.

    Attributes:
        kind: ``linear`` or ``logistic``, whose sigmoid is taken of the opened score.
        intercept: b.
        coefficients: w by name of column.
        impute: v by name of column; where there is none, the middle of the column's given bounds.
    """

    kind: str
    intercept: Fraction
    coefficients: dict[str, Fraction]
    impute: dict[str, Fraction]

    @classmethod
    def load(cls, path: Path) -> "TableModel":
        """Read a file of JSON.

        Such as ``{"kind": "logistic", "intercept": -5.1, "coefficients": {"age": 0.07}, "impute": {"age":
        49}}``.

        Raises:
            UserError: naming the field that is wrong.
        """
        found = parse_object(path, read_public(path, _MOST_BYTES), "model of a table")
        if unknown := sorted(set(found) - {"kind", "intercept", "coefficients", "impute"}):
            raise FormatError(path, None, f"{unknown[0]}: no such field of a model")
        kind = found.get("kind", "linear")
        if kind not in KINDS:
            raise FormatError(path, None, f"kind={kind!r}: choose one of {', '.join(KINDS)}")
        tables = [
            {
                name: _number(path, f"{field}.{name}", value)
                for name, value in _object(path, field, found).items()
            }
            for field in ("coefficients", "impute")
        ]
        if not tables[0]:
            raise FormatError(path, None, "coefficients: none; give at least one column its weight")
        return cls(kind, _number(path, "intercept", found.get("intercept", 0)), *tables)


@dataclass(frozen=True)
class IntegerModel:
    """What is multiplied, in units of 2^-f.

    Attributes:
        kind: of the model.
        bits: f.
        constant: b + sum w v.
        values: factor of x' by column.
        masks: factor of m by column.
    """

    kind: str
    bits: int
    constant: int
    values: tuple[int, ...]
    masks: tuple[int, ...]


def in_integers(model: TableModel, schema: Schema, plain_modulus: int) -> IntegerModel:
    """Return the model for a table's integers.

    The score is off by at most (1 + sum_j (reach_j + 1)) 2^(-f-1).

    Raises:
        UserError: for a coefficient of a column that the table does not have, or whose missing cells have no
            value; when scores would leave fewer than 16 bits after the point; and when no coefficient is as
            large as the last bit.
    """
    values, masks = ([Fraction(0)] * len(schema.columns) for _ in range(2))
    constant = model.intercept
    impute = {schema.column(name): value for name, value in model.impute.items()}
    seen: set[int] = set()
    for name, weight in model.coefficients.items():
        place = schema.column(name)
        if place in seen:
            raise UserError(f"coefficients: column {name!r} is there twice")
        seen.add(place)
        column = schema.columns[place]
        if place not in impute and not column.given:
            # the middle of drafted bounds is 0, which is nobody's age
            raise UserError(
                f"impute: nothing for missing cells of column {column.name!r}; give impute.{column.name}, or "
                f"encrypt with its --bounds"
            )
        missing = impute.get(place, Fraction(column.offset, column.unit))
        constant += weight * missing
        values[place] = weight / column.unit
        masks[place] = weight * (Fraction(column.offset, column.unit) - missing)
    if not any(values):
        raise UserError("coefficients: all are 0; there is nothing to compute")
    reach = abs(constant) + sum(
        abs(value) * column.reach + abs(mask)
        for value, mask, column in zip(values, masks, schema.columns, strict=True)
    )
    slack = 1 + sum(column.reach + 1 for column in schema.columns)
    room = Fraction(plain_modulus // 2 - slack) / reach
    bits = min(MOST_BITS, _log2(room) - 1) if room > 0 else 0
    if bits < LEAST_BITS:
        raise UserError("model: scores are too large for its integers; scale the coefficients down")
    factors = tuple(round(value * (1 << bits)) for value in values)
    if not any(factors):
        raise UserError("coefficients: all are too small for its integers; scale the coefficients up")
    return IntegerModel(
        model.kind,
        bits,
        round(constant * (1 << bits)),
        factors,
        tuple(round(mask * (1 << bits)) for mask in masks),
    )


def _log2(number: Fraction) -> int:
    """Return floor(log2 number), of numbers beyond float64, too."""
    bits = number.numerator.bit_length() - number.denominator.bit_length()
    return bits if number >= Fraction(2) ** bits else bits - 1


def _object(path: Path, field: str, found: dict[str, Any]) -> dict[str, Any]:
    value = found.get(field, {})
    if not isinstance(value, dict):
        raise FormatError(path, None, f"{field}: is no JSON object of numbers by column")
    return value


def _number(path: Path, field: str, value: Any) -> Fraction:
    if type(value) not in (int, float) or not abs(value) < 1e30:
        raise FormatError(path, None, f"{field}={str(value)[:40]}: is no finite number")
    return Fraction(value)
