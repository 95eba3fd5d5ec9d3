"""Print the cards of the data sets."""

import argparse
import sys
from dataclasses import fields

from fedpriv.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("name", nargs="?", help="tell everything about this one")


def main(options: argparse.Namespace) -> None:
    """Print a table of all data sets, or all facts about one."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from fedpriv.data.registry import cards

    known = cards()
    table = Table(box=box.SIMPLE_HEAD, show_header=options.name is None)
    if options.name is None:
        table.add_column("name", style="bold", no_wrap=True)
        table.add_column("tasks", no_wrap=True)
        table.add_column("contents, licence, source", overflow="fold")
        for card in known.values():
            facts = "\n".join((card.contents, card.licence, card.source))
            table.add_row(card.name, "\n".join(card.tasks), Text(facts))
            table.add_row("", "", "")
    else:
        if options.name not in known:
            raise UserError(f"{options.name}: no such data set; choose one of {', '.join(known)}")
        table.add_column("fact", style="bold", no_wrap=True)
        table.add_column("value", overflow="fold")
        for field in fields(known[options.name]):
            value = getattr(known[options.name], field.name)
            table.add_row(Text(field.name), Text(", ".join(value) if isinstance(value, tuple) else value))
    # a pipe has no width: lines there are whole
    Console(width=None if sys.stdout.isatty() else 240).print(table)
