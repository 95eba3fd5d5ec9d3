"""What an owner says of a table on the command line."""

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from fedpriv.arguments import Parser
from fedpriv.errors import UserError

if TYPE_CHECKING:
    from fedpriv.he.tables.drafting import Wishes
    from fedpriv.he.tables.schema import Schema


def add_wishes(parser: Parser) -> None:
    """Add the flags of :func:`wishes_of`."""
    parser.add_argument("--columns", nargs="+", default=[], metavar="NAME", help="default all with numbers")
    parser.add_argument(
        "--decimals",
        nargs="+",
        default=[],
        metavar="NAME=D",
        help="digits kept after the point, needed for --epsilon; default all",
    )
    parser.add_argument(
        "--bounds",
        nargs="+",
        default=[],
        metavar="NAME=LOW:HIGH",
        help="public, needed for --epsilon; default a power of two that no value passes",
    )
    parser.add_argument("--bins", nargs="+", default=[], metavar="NAME=E,E,...", help="edges of a histogram")
    parser.add_argument("--group", default="", metavar="NAME", help="statistics for each value of it, too")
    parser.add_argument(
        "--levels",
        nargs="+",
        default=[],
        metavar="VALUE",
        help="of --group, needed for --epsilon; default from the cells",
    )
    parser.add_argument(
        "--no-pairs", action="store_true", help="no covariance, correlation, weights: smaller"
    )


def wishes_of(options: argparse.Namespace) -> "Wishes":
    """Return what flags say.

    Raises:
        UserError: naming the flag that is not understood.
    """
    from fedpriv.he.tables.drafting import Wishes

    decimals = {}
    for name, text in _named("--decimals", options.decimals):
        if not (text.isdecimal() and len(text) <= 2 and int(text) <= 12):
            raise UserError(f"--decimals {name}={text}: choose 0 to 12")
        decimals[name] = int(text)
    bounds = {}
    for name, text in _named("--bounds", options.bounds):
        low, colon, high = text.partition(":")
        if not colon:
            raise UserError(f"--bounds {name}={text}: write LOW:HIGH, e.g. --bounds {name}=0:100")
        bounds[name] = (low, high)
    bins = {name: text.split(",") for name, text in _named("--bins", options.bins)}
    return Wishes(
        options.columns, decimals, bounds, bins, options.group, options.levels, not options.no_pairs
    )


def told_of(schema: "Schema") -> str:
    """Return one line that says what a schema tells of the cells that it was drafted from; "" for nothing."""
    drafted = [
        (any(not each.given for each in schema.columns), "bounds (a power of two that no value passes)"),
        (any(not each.fixed for each in schema.columns), "decimals"),
        (bool(schema.group) and not schema.named, "groups"),
    ]
    if not (found := [name for is_so, name in drafted if is_so]):
        return ""
    return f"Of the cells it tells what was not given: {', '.join(found)}."


def _named(flag: str, given: Sequence[str]) -> list[tuple[str, str]]:
    pairs = []
    for each in given:
        name, equals, text = each.rpartition("=")
        if not equals or not name:
            raise UserError(f"{flag} {each}: write NAME=...")
        pairs.append((name, text))
    return pairs
