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


def pay(head: ResultHead, price: Price) -> tuple[PrivateRelease, float]:
    """Charge a release of a result to all tables in it; on return it is on disk, and noise may be drawn.

    A table stands for its rows: each has been in every release of it. Rows that stand in several tables, or
    in a table that was changed since, are not recognised.

    Returns:
        The mechanism, and the epsilon that the table with the greatest has spent now, at ``price.delta``.

    Raises:
        UserError: when bounds are not public, the budget does not allow it, and as
            :class:`~fedpriv.privacy.ledger.Ledger`.
    """
    for column in head.schema.columns:
        if not column.given:
            raise UserError(
                f"--epsilon: the bounds of column {column.name!r} were taken from its values, which tells of "
                f"them; encrypt with --bounds {column.name}=LOW:HIGH"
            )
    release = PrivateRelease(head.schema, head.pairs, price.epsilon, price.delta)
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
    return release, ledger.spent(rows, price.delta).epsilon


def _names(head: ResultHead) -> list[str]:
    return [column.name for column in head.schema.columns[:4]]
