"""A sweep's jobs as a table: on the terminal, in Markdown and as CSV."""

import csv
import io
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from fedpriv.console.wording import number_text
from fedpriv.sweeps.reports import Report

_DONE = {"reused": "finished", "running": "killed"}
"""A job that is still said to run when the sweep has ended was ended with it."""


def state_of(report: Report | None) -> str:
    """Return a job's state when the sweep has ended; one that never said anything is missing."""
    return "missing" if report is None else _DONE.get(report.state, report.state)


def rows(settings: Mapping[int, Sequence[str]], reports: Mapping[int, Report]) -> list[dict[str, str]]:
    """Return one row for each job: number, state, what the sweep varies, last figures, run and reason.

    Args:
        settings: ``name=value`` of what varies, by job.
        reports: the last of each job.
    """
    found = []
    for number in sorted(settings):
        report = reports.get(number)
        row = {"job": str(number), "state": state_of(report)}
        row |= {name: value for name, _, value in (each.partition("=") for each in settings[number])}
        if report is not None:
            if report.metric is not None:
                row[report.metric] = "" if report.value is None else repr(report.value)
            if report.epsilon is not None:
                row["epsilon"] = report.epsilon
            row |= {"run": report.run_id or "", "reason": report.reason or ""}
        found.append(row)
    return found


def as_csv(table: Sequence[Mapping[str, str]]) -> str:
    """Return rows as CSV with a header; numbers with all their digits."""
    text = io.StringIO()
    writer = csv.DictWriter(text, _columns(table), restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
    return text.getvalue()


def as_markdown(table: Sequence[Mapping[str, str]]) -> str:
    """Return rows as a table in Markdown."""
    names = _columns(table)
    lines = [names, ["---"] * len(names)]
    lines += [[short(row.get(name, "")) for name in names] for row in table]
    return "".join(f"| {' | '.join(map(_cell, line))} |\n" for line in lines)


def show(console: Console, table: Sequence[Mapping[str, str]], most: int = 60) -> None:
    """Print at most so many rows, without run ids and reasons."""
    names = [name for name in _columns(table) if name not in ("run", "reason")]
    drawn = Table()
    for name in names:
        drawn.add_column(Text(name))
    for row in table[:most]:
        drawn.add_row(*(Text(short(row.get(name, ""))) for name in names))
    console.print(drawn)
    if len(table) > most:
        console.print(
            f"and {len(table) - most} more, see sweep.csv of the sweep's run in MLflow", soft_wrap=True
        )


def _columns(table: Sequence[Mapping[str, str]]) -> list[str]:
    names = list(dict.fromkeys(name for row in table for name in row))
    last = [name for name in ("epsilon", "run", "reason") if name in names]
    return [name for name in names if name not in last] + last


def short(text: str) -> str:
    """Round a number that is written with all its digits; other texts are left as they are."""
    try:
        return number_text(float(text)) if len(text) > 8 and "." in text else text
    except ValueError:
        return text


def _cell(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")
