"""What an owner says of a table on the command line."""

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from fedpriv.arguments import Parser
from fedpriv.errors import UserError

if TYPE_CHECKING:
    from fedpriv.he.tables.drafting import Wishes


def add_wishes(parser: Parser) -> None:
    """Add the flags of :func:`wishes_of`."""
    parser.add_argument("--columns", nargs="+", default=[], metavar="NAME", help="default all with numbers")
    parser.add_argument(
        "--decimals", nargs="+", default=[], metavar="NAME=D", help="digits kept after the point; default all"
    )
    parser.add_argument(
        "--bounds",
        nargs="+",
        default=[],
        metavar="NAME=LOW:HIGH",
        help="public, needed for --epsilon; default from the values",
    )
    parser.add_argument("--bins", nargs="+", default=[], metavar="NAME=E,E,...", help="edges of a histogram")
    parser.add_argument("--group", default="", metavar="NAME", help="statistics for each value of it, too")
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
    return Wishes(options.columns, decimals, bounds, bins, options.group, not options.no_pairs)


def _named(flag: str, given: Sequence[str]) -> list[tuple[str, str]]:
    pairs = []
    for each in given:
        name, equals, text = each.rpartition("=")
        if not equals or not name:
            raise UserError(f"{flag} {each}: write NAME=...")
        pairs.append((name, text))
    return pairs
