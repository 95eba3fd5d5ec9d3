"""``fedpriv privacy show``: what the images of a data holder have been charged, over all runs."""

import argparse
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fedpriv.errors import UserError
from fedpriv.privacy.account import Account
from fedpriv.privacy.charge import Unit
from fedpriv.privacy.ledger import Ledger, default_folder

MOST_SHARES = 20
"""Shares that are listed one by one; more are put together by the name of their data."""
_NOBODY = "unnamed"


@dataclass(frozen=True)
class Row:
    """One share, or all shares of the data of one name, at one level.

    Attributes:
        data: what runs called it.
        shares: sets of examples that were trained on.
        examples: different ones in them.
        runs: identifiers of the runs, in the order of the ledger.
        charges: rounds of clients that were charged.
        unit: whom the epsilon protects: ``sample`` or ``client``.
        epsilon: of the example, or client, that has lost most; infinite where nothing is promised.
        delta: that it is stated at.
        accountant: how it was found.
        first: time of the first charge, ISO 8601 in UTC.
        last: time of the last.
    """

    data: str
    shares: int
    examples: int
    runs: tuple[str, ...]
    charges: int
    unit: Unit
    epsilon: float
    delta: float
    accountant: str
    first: str
    last: str


def rows(ledger: Ledger, delta: float) -> list[Row]:
    """Return what the ledger holds, at most :data:`MOST_SHARES` shares one by one."""
    accounts = ledger.summary()
    grouped: defaultdict[str | int, list[Account]] = defaultdict(list)
    for number, account in enumerate(accounts):
        grouped[number if len(accounts) <= MOST_SHARES else _name(account)].append(account)
    found = []
    for group in grouped.values():
        units = dict.fromkeys(unit for account in group for unit in account.units)
        for unit in units:
            spent = ledger.greatest([account.share for account in group], delta, unit)
            found.append(
                Row(
                    data=_name(group[0]),
                    shares=len(group),
                    examples=len(np.unique(np.concatenate([account.share.distinct for account in group]))),
                    runs=tuple(dict.fromkeys(run for account in group for run in account.runs)),
                    charges=sum(account.charges for account in group),
                    unit=unit,
                    epsilon=spent.epsilon,
                    delta=delta,
                    accountant=spent.accountant,
                    first=min(account.first for account in group),
                    last=max(account.last for account in group),
                )
            )
    return found


def main(arguments: Sequence[str]) -> None:
    """Run the command line.

    Raises:
        UserError: when the ledger is damaged, or a value makes no sense.
    """
    parser = argparse.ArgumentParser(
        prog="fedpriv privacy",
        description="Show what the images of a data holder have been charged, over all runs.",
        epilog="Epsilon is composed over all runs that trained on the same images, however divided among\n"
        "clients; a share has spent what its dearest image has. A client is not protected by what\n"
        "protects its images one by one: after such a run its epsilon is infinite.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=["show"])
    parser.add_argument("folder", nargs="?", type=Path, metavar="FOLDER", help="the ledger (default: yours)")
    parser.add_argument("--delta", type=float, default=1e-5, help="at which epsilon is stated (default 1e-5)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    if not 0.0 < options.delta < 1.0:
        raise UserError(f"--delta {options.delta}: must lie between 0 and 1")
    if options.folder is not None and not options.folder.is_dir():
        raise UserError(f"{options.folder}: no such folder; name the folder of a ledger (privacy.ledger)")
    ledger = Ledger(default_folder() if options.folder is None else options.folder.resolve())
    found = rows(ledger, options.delta)
    if options.json:
        # JSON knows no infinity
        shown = [
            {**asdict(row), "epsilon": row.epsilon if np.isfinite(row.epsilon) else None} for row in found
        ]
        print(json.dumps({"ledger": str(ledger.path), "delta": options.delta, "spent": shown}))
    elif not found:
        print(f"{ledger.path}: nothing has been charged yet")
    else:
        _print(ledger.path, options.delta, found)


def _print(path: Path, delta: float, found: Sequence[Row]) -> None:
    table = Table(title=f"Privacy spent at delta {delta:g}", title_justify="left", title_style="bold")
    table.add_column("data", overflow="fold")
    for name in ("shares", "images", "runs"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("protects", no_wrap=True)
    table.add_column("epsilon", justify="right", no_wrap=True)
    table.add_column("used")
    for row in found:
        days = dict.fromkeys(time.partition("T")[0] for time in (row.first, row.last))
        cells = (
            row.data,
            str(row.shares),
            str(row.examples),
            str(len(row.runs)),
            {"sample": "an image", "client": "a client"}[row.unit],
            f"{row.epsilon:.3g}",
            " to ".join(days),
        )
        table.add_row(*map(Text, cells))
    console = Console()
    console.print(table)
    console.print(Text(str(path)), soft_wrap=True)


def _name(account: Account) -> str:
    return ", ".join(account.names) or _NOBODY
