"""``fedpriv privacy show``: what the images and tables of a data holder have been charged, over all runs."""

import argparse
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fedpriv.arguments import Parser
from fedpriv.console.wording import number_text, seeded_text
from fedpriv.errors import UserError
from fedpriv.privacy.account import Account, shown
from fedpriv.privacy.charge import Unit
from fedpriv.privacy.ledger import Ledger, default_folder
from fedpriv.privacy.rounded import at_most
from fedpriv.privacy.use import Use

MOST_SHARES = 20
"""Shares that are listed one by one; more are put together by the name of their data."""
_NOBODY = "unnamed"
_IMAGE, _ROW, _CLIENT = "an image", "a row", "a client"


@dataclass(frozen=True)
class Row:
    """One share, or all shares of the data of one name, at one level.

    Attributes:
        data: what runs called it.
        shares: sets of examples that were trained on.
        examples: different ones in them.
        runs: identifiers of all runs that its epsilon is made of, those on overlapping shares among them, in
            the order of the ledger.
        seeded_runs: those of them whose noise was seeded and protects nobody, though it is counted.
        server_runs: those of them whose noise the server drew: the epsilon does not hold against it.
        charges: rounds of clients that were charged, to these shares.
        unit: whom the epsilon protects: ``sample`` or ``client``.
        protects: the same in words; a sample is an image, or a row of a table.
        epsilon: of the example, or client, that has lost most; infinite where nothing is promised.
        delta: that it is stated at.
        accountant: how it was found.
        first: time of the first charge of any of the runs, ISO 8601 in UTC.
        last: time of the last.
    """

    data: str
    shares: int
    examples: int
    runs: tuple[str, ...]
    seeded_runs: int
    server_runs: int
    charges: int
    unit: Unit
    protects: str
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
        uses = ledger.uses_of([account.share for account in group])
        units = dict.fromkeys(unit for account in group for unit in account.units)
        for unit in units:
            spent = ledger.greatest([account.share for account in group], delta, unit)
            found.append(
                Row(
                    data=_name(group[0]),
                    shares=len(group),
                    examples=len(np.unique(np.concatenate([account.share.distinct for account in group]))),
                    runs=tuple(dict.fromkeys(shown(use.run) for use in uses)),
                    seeded_runs=len({use.run for use in uses if use.seeded}),
                    server_runs=len({use.run for use in uses if use.by_server}),
                    charges=sum(account.charges for account in group),
                    unit=unit,
                    protects=_protected(unit, [use for use in uses if use.unit == unit]),
                    epsilon=spent.epsilon,
                    delta=delta,
                    accountant=spent.accountant,
                    first=shown(min(use.first for use in uses)),
                    last=shown(max(use.last for use in uses)),
                )
            )
    return found


def runs(ledger: Ledger) -> list[tuple[str, Use]]:
    """Return what each run made of the data of each name; a run on images of two names is there twice."""
    grouped: defaultdict[str, list[Account]] = defaultdict(list)
    for account in ledger.summary():
        grouped[_name(account)].append(account)
    return [
        (name, use)
        for name, group in grouped.items()
        for use in ledger.uses_of([account.share for account in group])
    ]


def main(arguments: Sequence[str]) -> None:
    """Run the command line.

    Raises:
        UserError: when the ledger is damaged, or a value makes no sense.
    """
    parser = Parser(
        prog="fedpriv privacy",
        description="Show what the images and tables of a data holder have been charged, over all runs.",
        epilog="Epsilon is composed over all runs that trained on the same images, however divided among\n"
        "clients; a share has spent what its dearest image has. A client is not protected by what\n"
        "protects its images one by one: after such a run its epsilon is infinite. A table that statistics\n"
        "were released of counts as one example, and its epsilon is that of each of its rows.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=["show"])
    parser.add_argument("folder", nargs="?", type=Path, metavar="FOLDER", help="the ledger (default: yours)")
    parser.add_argument("--delta", type=float, default=1e-5, help="at which epsilon is stated (default 1e-5)")
    parser.add_argument("--runs", action="store_true", help="list too what each run did")
    parser.add_argument("--json", action="store_true", help="print one JSON object, with what each run did")
    options = parser.parse_args(arguments)
    if not 0.0 < options.delta < 1.0:
        raise UserError(f"--delta {options.delta}: must lie between 0 and 1")
    if options.folder is not None and not options.folder.is_dir():
        raise UserError(f"{options.folder}: no such folder; name the folder of a ledger (privacy.ledger)")
    ledger = Ledger(default_folder() if options.folder is None else options.folder.resolve())
    found = rows(ledger, options.delta)
    if options.json:
        # JSON knows no infinity
        spent = [
            {**asdict(row), "epsilon": row.epsilon if np.isfinite(row.epsilon) else None} for row in found
        ]
        used = [_fields(name, use) for name, use in runs(ledger)]
        print(json.dumps({"ledger": str(ledger.path), "delta": options.delta, "spent": spent, "runs": used}))
    elif not found:
        print(f"{ledger.path}: nothing has been charged yet")
    else:
        _print(options.delta, found)
        if options.runs:
            _print_runs(runs(ledger))
        Console().print(Text(str(ledger.path)), soft_wrap=True)


def _fields(name: str, use: Use) -> dict[str, Any]:
    keys = ("noise_multiplier", "sample_rate", "steps")
    return {
        "data": name,
        **asdict(use),
        "run": shown(use.run),
        "steps": [dict(zip(keys, each, strict=True)) for each in use.steps],
        "rho": [rho if np.isfinite(rho) else None for rho in use.rho],
        "first": shown(use.first),
        "last": shown(use.last),
    }


def _print(delta: float, found: Sequence[Row]) -> None:
    table = Table(title=f"Privacy spent at delta {delta:g}", title_justify="left", title_style="bold")
    table.add_column("data", overflow="fold")
    for name in ("shares", "examples", "runs"):
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
            row.protects,
            at_most(row.epsilon),
            " to ".join(days),
        )
        table.add_row(*map(Text, cells))
    console = Console()
    console.print(table)
    for line in dict.fromkeys(
        f"{row.data}, {row.protects}: {said}" for row in found for said in _caveats(row)
    ):
        console.print(Text(line), soft_wrap=True)


def _caveats(row: Row) -> list[str]:
    """Say which runs the epsilon counts although they protect nobody, or not from the server."""
    said = [seeded_text(row.seeded_runs, len(row.runs))] if row.seeded_runs else []
    if row.server_runs:
        said.append(
            f"noise of {row.server_runs} of {len(row.runs)} drawn by the server: not against the server"
        )
    return said


def _print_runs(found: Sequence[tuple[str, Use]]) -> None:
    for name in dict.fromkeys(name for name, _ in found):
        _print_uses(name, [use for named, use in found if named == name])


def _print_uses(name: str, uses: Sequence[Use]) -> None:
    table = Table(title=Text(f"Runs on {name}"), title_justify="left", title_style="bold")
    table.add_column("run", overflow="fold")
    for column in ("protects", "noise"):
        table.add_column(column)
    table.add_column("rounds", justify="right", no_wrap=True)
    table.add_column("used (UTC)")
    for use in uses:
        times = dict.fromkeys(shown(time)[:16].replace("T", " ") for time in (use.first, use.last))
        noise = [_noise(use)]
        noise += ["seeded: protects nobody"] if use.seeded else []
        noise += ["not against the server"] if use.by_server else []
        cells = (
            shown(use.run),
            _protected(use.unit, [use]),
            "; ".join(noise),
            str(use.rounds),
            " to ".join(times),
        )
        table.add_row(*map(Text, cells))
    Console().print(table)


def _protected(unit: Unit, uses: Sequence[Use]) -> str:
    """Say whom a unit is: a release that is no step of training, at the unit of samples, is of a table."""
    if unit == "client":
        return _CLIENT
    return _ROW if uses and all(use.rho and not use.steps for use in uses) else _IMAGE


def _noise(use: Use) -> str:
    """Say what a share was charged with: noise multiplier, sample rate and steps of DP-SGD, or rho."""
    said = [f"rho {_range(use.rho)}"] if use.rho else []
    if use.steps:
        noises, rates, steps = zip(*use.steps, strict=True)
        said.append(f"multiplier {_range(noises)}, rate {_range(rates)} x {_range(steps)} steps")
    return ", ".join(said)


def _range(values: Sequence[float]) -> str:
    ends = dict.fromkeys(
        str(end) if isinstance(end, int) else number_text(end) for end in (min(values), max(values))
    )
    return " to ".join(ends)


def _name(account: Account) -> str:
    return ", ".join(account.names) or _NOBODY
