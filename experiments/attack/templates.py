"""``fedpriv attack templates``: rebuild enrolled faces from answers to chosen probes."""

import argparse
import json
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from fedpriv.arguments import Parser
from fedpriv.attacks.templates.runs import FREE, PHOTO, WITHIN, Found, Settings, days, run

_DEFAULT = Settings()
_MUCH = 0.05
"""Share of templates for which chance alone finds an accepted face within a day's budget."""


def main(arguments: Sequence[str]) -> None:
    """Run the command line; exit status 1 when an attack got through the default mode.

    Raises:
        UserError: for settings that are refused.
    """
    options = _parser().parse_args(arguments)
    settings = Settings(
        dimension=options.dimension,
        targets=options.targets,
        rate=options.far,
        budget=options.budget,
        unlimited=options.unlimited,
        real=options.real,
        seed=options.seed,
    )
    begun = time.perf_counter()
    found = run(settings)
    seconds = time.perf_counter() - begun
    if options.json:
        print(json.dumps(as_fields(found, seconds)))
    else:
        show(found, Console())
    if not found.held:
        raise SystemExit(1)


def as_fields(found: Found, seconds: float) -> dict[str, Any]:
    """Return what ``--json`` prints."""
    settings = found.settings
    return {
        "dimension": settings.dimension,
        "targets": settings.targets,
        "far": settings.rate,
        "threshold": round(found.threshold, 6),
        "budget": settings.budget,
        "chance_within_budget": round(found.chance, 6),
        "real_targets": settings.real,
        "seed": settings.seed,
        "held": found.held,
        "attacks": [
            {
                "name": row.name,
                "queries": row.queries,
                "cosine_mean": _mean(row.cosines),
                "cosine_least": min(row.cosines, default=None),
                "accepted": row.accepted,
                "queries_to_first_accepted": row.first,
                "days_at_budget": None if row.first is None else days(row.queries, settings.budget),
                "real_cosines": list(row.real),
                "real_refused": row.refused,
            }
            for row in found.rows.values()
        ],
        "seconds": round(seconds, 1),
    }


def show(found: Found, console: Console) -> None:
    """Print the matrix and what follows from it."""
    table = Table(title="templates rebuilt from answers to chosen probes")
    for column in ("attack", "queries", "cosine", "accepted", "real"):
        table.add_column(column, justify="left" if column == "attack" else "right", no_wrap=True)
    for row in found.rows.values():
        mean = _mean(row.cosines)
        real = f"{row.refused} refused" if row.refused else " ".join(f"{each:.3f}" for each in row.real)
        table.add_row(
            row.name,
            str(row.queries),
            "-" if mean is None else f"{mean:.3f}",
            "-" if mean is None else f"{row.accepted:.0%}",
            real or "-",
        )
    console.print(table)
    settings, free, photo = found.settings, found.rows[FREE], found.rows[PHOTO]
    console.print(
        f"{settings.targets} simulated people, {settings.dimension} numbers each; threshold "
        f"{found.threshold:.3f}: a stranger is accepted with probability {settings.rate:g}, and one of "
        f"{settings.budget} strangers with {found.chance:.2%}."
    )
    console.print(
        f"Many answers do leak. Without a budget a first stranger is accepted after {free.first:.0f} queries "
        f"(the median), and {free.queries} rebuild {free.accepted:.0%} of the templates: "
        f"{days(free.queries, settings.budget):.0f} days at {settings.budget} a day. From a photo of the "
        f"person {photo.queries} rebuild the template (cosine {_mean(photo.cosines):.3f}): "
        f"{days(photo.queries, settings.budget):.0f} days. Callers who collude add their budgets up."
    )
    verdict = "[green]held[/]" if found.held else "[red]an attack got through the default mode[/]"
    console.print(f"{verdict}: {against_chance(found)}")


def against_chance(found: Found) -> str:
    """Say how the guesses within the budget compare with chance, and where chance itself is no protection."""
    settings, within = found.settings, found.rows[WITHIN]
    said = (
        f"{within.accepted:.0%} of the guesses made within the budget are accepted, {found.chance:.1%} by "
        f"chance alone: at FAR {settings.rate:g}, {settings.budget} strangers."
    )
    if found.chance > _MUCH:
        said += (
            " Chance is what an attacker has whatever is encrypted, and here it is much: choose a threshold "
            "of a smaller FAR, or a smaller budget."
        )
    return said


def _mean(cosines: Sequence[float]) -> float | None:
    return float(np.mean(cosines)) if cosines else None


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="fedpriv attack templates",
        description="Enrol simulated people and rebuild their templates from answers to probes of the\n"
        "attacker's choice: from raw scores, and from the accept or reject of `fedpriv faces`, within the\n"
        "query budget and without one. Exit status 1 when guesses within the budget are accepted more often\n"
        "than as many strangers would be, which it says, or probes of another length than 1 are answered.",
        epilog="examples:\n"
        "  fedpriv attack templates\n"
        "  fedpriv attack templates --far 1e-3 --budget 10 --targets 50\n"
        "  fedpriv attack templates --real 0 --json",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--dimension", type=int, default=_DEFAULT.dimension, metavar="D", help="of embeddings; 128")
    add("--targets", type=int, default=_DEFAULT.targets, metavar="N", help="people attacked; 20")
    add("--far", type=float, default=_DEFAULT.rate, metavar="RATE", help="of strangers accepted; 1e-4")
    add("--budget", type=int, default=_DEFAULT.budget, metavar="N", help="openings a day; 32")
    add("--unlimited", type=int, default=_DEFAULT.unlimited, metavar="N", help="queries without one; 30000")
    add(
        "--real",
        type=int,
        default=_DEFAULT.real,
        metavar="N",
        help="targets whose answers come from the real server and key holder, encrypted; 1. Those of the "
        "others are computed in clear",
    )
    add("--seed", type=int, default=_DEFAULT.seed, help="of people and probes; 0")
    add("--json", action="store_true", help="print one JSON object last")
    return parser
