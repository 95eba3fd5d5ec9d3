"""Noise on what is released, paid for in the ledger first."""

import secrets
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fedpriv.errors import UserError
from fedpriv.he.tables.opening import ResultHead
from fedpriv.he.tables.release import PrivateRelease
from fedpriv.privacy.charge import Charge
from fedpriv.privacy.example_set import of_digests
from fedpriv.privacy.ledger import Ledger, default_folder
from fedpriv.privacy.rounded import at_most


@dataclass(frozen=True)
class Price:
    """What a release may cost.

    Attributes:
        epsilon: of this release, for one row added or removed.
        delta: probability of the bound failing.
        budget: epsilon that all releases of a table together may reach; None for no bound.
        ledger: folder; None for the user's own.
    """

    epsilon: float
    delta: float
    budget: float | None
    ledger: Path | None


def mechanism_of(head: ResultHead, price: Price) -> PrivateRelease:
    """Return the mechanism that releases a result at this price; nothing is charged yet.

    Raises:
        UserError: naming what is public of the tables and was taken from cells: then no noise would make the
            release private; and when epsilon or delta is out of range.
    """
    schema = head.schema
    bounds = [f"{each.name}=LOW:HIGH" for each in schema.columns if not each.given]
    decimals = [f"{each.name}=D" for each in schema.columns if not each.fixed]
    levels = ["VALUE", "..."] if schema.group and not schema.named else []
    given = (("--bounds", bounds), ("--decimals", decimals), ("--levels", levels))
    if missing := [" ".join([flag, *values]) for flag, values in given if values]:
        raise UserError(
            f"--epsilon: bounds, decimals or groups were taken from the cells, and tell of single ones; "
            f"encrypt with {' '.join(missing)}"
        )
    return PrivateRelease(schema, head.pairs, price.epsilon, price.delta)


def pay(head: ResultHead, release: PrivateRelease, price: Price) -> float:
    """Charge a release of a result to all tables in it; on return it is on disk: noise may be shown.

    Whatever else may fail comes before: what was charged stays so.

    A table stands for its rows: each has been in every release of it. Rows that stand in several tables, or
    in a table that was changed since, are not recognised.

    Returns:
        The epsilon that the table with the greatest has spent now, at ``price.delta``.

    Raises:
        UserError: when the budget does not allow it, and as :class:`~fedpriv.privacy.ledger.Ledger`.
    """
    rows = of_digests(np.array([int(each[:16], 16) for each in head.tables], np.uint64))
    charge = Charge(
        rows, release.mechanism, secrets.token_hex(16), 0, price.delta, ", ".join(_names(head)) + " (table)"
    )
    ledger = Ledger(default_folder() if price.ledger is None else price.ledger)
    if price.budget is None:
        ledger.charge([charge])
    elif not ledger.charge_within([charge], price.budget, price.delta)[0]:
        spent = at_most(ledger.spent(rows, price.delta).epsilon)
        raise UserError(
            f"--budget {price.budget:g}: a table has spent epsilon {spent} at delta {price.delta:g}, and "
            f"this release would pass the budget; nothing was released"
        )
    return ledger.spent(rows, price.delta).epsilon


def _names(head: ResultHead) -> list[str]:
    return [column.name for column in head.schema.columns[:4]]
