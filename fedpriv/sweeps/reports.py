"""What jobs tell of themselves: one line of JSON each time, appended to a file of the sweep's folder."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, get_args

from fedpriv.sweeps.processes import Process

State = Literal["running", "finished", "reused", "pruned", "failed"]
_NAME = "jobs.jsonl"
_LONGEST_LINE = 4000
"""Appending less than a page is never mixed with what another process appends."""


@dataclass(frozen=True)
class Report:
    """How a job is.

    Attributes:
        number: of the job in its sweep.
        state: ``reused`` is finished, in an earlier sweep or process.
        metric: name of the metric it is judged by.
        value: of that after the last round.
        epsilon: that it has spent, as text; None without differential privacy.
        run_id: in MLflow.
        reason: why it failed or was pruned, one line.
        seconds: since it was started.
        process: that it runs in.
        refused: whether it failed by what it was told to do, and would again: a mistake of the user's, before
            it trained, or a trial whose run lacks what is searched for.
    """

    number: int
    state: State
    metric: str | None = None
    value: float | None = None
    epsilon: str | None = None
    run_id: str | None = None
    reason: str | None = None
    seconds: float = 0.0
    process: Process | None = None
    refused: bool = False


class ReportFile:
    """The reports of one sweep; many processes append, one reads."""

    def __init__(self, folder: Path) -> None:
        """Name the sweep's folder."""
        self._path = folder / _NAME
        self._read, self._rest = 0, b""

    def clear(self) -> None:
        """Forget what an earlier sweep left in this folder."""
        self._path.unlink(missing_ok=True)

    def append(self, report: Report) -> None:
        """Append a report."""
        plain = asdict(report)
        if plain["reason"] is not None:
            plain["reason"] = plain["reason"][:1000]
        line = json.dumps(plain).encode() + b"\n"
        descriptor = os.open(self._path, os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, line)
        finally:
            os.close(descriptor)

    def new(self) -> list[Report]:
        """Return what was appended since the last call, without lines that are damaged or not whole yet."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._read)
                data = file.read()
        except FileNotFoundError:
            return []
        self._read += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        self._rest = self._rest[: 2 * _LONGEST_LINE]
        return [report for line in lines if (report := _parsed(line)) is not None]


def _parsed(line: bytes) -> Report | None:
    try:
        plain = json.loads(line)
        process = plain.pop("process")
        report = Report(process=None if process is None else Process(**process), **plain)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    return report if type(report.number) is int and report.state in get_args(State) else None
