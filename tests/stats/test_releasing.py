"""What may be released with noise: nothing whose public part was taken from cells."""

import dataclasses

import pytest

from fedpriv.errors import UserError
from fedpriv.he.tables.opening import ResultHead
from fedpriv.he.tables.schema import Column, Schema
from fedpriv.stats.releasing import Price, mechanism_of

PRICE = Price(1.0, 1e-6, None, None)
PUBLIC = Schema(
    (Column("Age", 0, 0, 120, given=True, fixed=True), Column("weight", 1, 0, 2000, given=True, fixed=True)),
    "sex",
    ("f", "m"),
    True,
    False,
)


def head(columns=({}, {}), **changes):
    """Return the head of a result of :data:`PUBLIC` with changes to its columns and to itself."""
    changed = [
        dataclasses.replace(each, **change) for each, change in zip(PUBLIC.columns, columns, strict=True)
    ]
    schema = dataclasses.replace(PUBLIC, columns=tuple(changed), **changes)
    return ResultHead(schema, ("0" * 64,), False, 1)


@pytest.mark.parametrize(
    ("result", "missing"),
    [
        (head(({"given": False}, {})), "--bounds Age=LOW:HIGH"),
        (head(({}, {"fixed": False})), "--decimals weight=D"),
        (head(named=False), "--levels VALUE ..."),
        (
            head(({"given": False, "fixed": False}, {"given": False}), named=False),
            "--bounds Age=LOW:HIGH weight=LOW:HIGH --decimals Age=D --levels VALUE ...",
        ),
    ],
)
def test_what_was_taken_from_cells_is_named_with_what_gives_it(result, missing):
    with pytest.raises(UserError) as refusal:
        mechanism_of(result, PRICE)
    assert str(refusal.value).endswith(f"encrypt with {missing}")


@pytest.mark.parametrize("result", [head(), head(named=False, group="", levels=())])
def test_a_schema_that_people_gave_may_be_released(result):
    assert mechanism_of(result, PRICE).mechanism.rho > 0
