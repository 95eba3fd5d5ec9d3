"""Sweeps by the command line, in forks of a process that has imported everything: see ``forked``."""

import csv
import os
import select
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Run

from tests.integration.forked import STREAMS, ask, exit_code

SMALL = (
    "data.people=6",
    "data.images_per_person=16",
    "evaluation.test_subjects=2",
    "evaluation.pictures=0",
    "federation.clients=4",
    "federation.rounds=2",
    "engine.workers=0",
    "engine.threads=1",
    "tracking.log_model=false",
    "tracking.log_partition=false",
)
"""A run of about a second."""

Done = subprocess.CompletedProcess[str]


class Started:
    """A sweep (or one run) under way in a process of its own, to be asked and ended as ``Popen``'s are.

    Edge cases:
        ``communicate`` waits, as ``Popen``'s does, until no process has the output open any more.
    """

    def __init__(self, folder: Path, arguments: list[str], *, spared: bool = True) -> None:
        self.returncode: int | None = None
        self._arguments, self._said = arguments, dict.fromkeys(STREAMS, b"")
        with tempfile.TemporaryDirectory() as name:
            pipes = {stream: Path(name, stream) for stream in self._said}
            for pipe in pipes.values():
                os.mkfifo(pipe)
            # who reads does not wait for who writes, which opens both before it answers
            self._pipes = {s: os.open(pipe, os.O_RDONLY | os.O_NONBLOCK) for s, pipe in pipes.items()}
            self.pid = ask("fedpriv", arguments, folder, pipes, begin=True, spared=spared)

    def poll(self) -> int | None:
        """The exit code, or None while the process runs."""
        if self.returncode is None:
            self.returncode = exit_code(self.pid)
        return self.returncode

    def kill(self) -> None:
        """End the process, and not what it has started."""
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)

    def communicate(self, timeout: float = 600) -> tuple[str, str]:
        """Wait for the end and return all standard output and error."""
        late = time.monotonic() + timeout
        while self._pipes or self.poll() is None:
            if time.monotonic() > late:
                raise subprocess.TimeoutExpired(self._arguments, timeout)
            select.select(self._pipes.values(), [], [], 0.1 if self._pipes else 0.01)
            for stream in list(self._pipes):
                self._read(stream)
        return self._said["stdout"].decode(), self._said["stderr"].decode()

    def _read(self, stream: str) -> None:
        try:
            while read := os.read(self._pipes[stream], 1 << 16):
                self._said[stream] += read
        except BlockingIOError:
            return
        os.close(self._pipes.pop(stream))


def start(folder: Path, *overrides: str, multirun: bool = True, spared: bool = True) -> Started:
    """Begin a sweep of small runs (or one run) in a process of its own, which others can be started from.

    Unless it is ``spared`` that, joblib's processes are started afresh, and databases are made.
    """
    return Started(folder, ["run", *(["-m"] if multirun else []), *SMALL, *overrides], spared=spared)


def sweep(folder: Path, *overrides: str) -> Done:
    """Run ``fedpriv run -m`` with small runs and further overrides in a folder."""
    process = start(folder, *overrides)
    output, errors = process.communicate()
    assert process.returncode is not None
    return Done([*overrides], process.returncode, output, errors)


class Store:
    """What MLflow has of the sweeps of one folder."""

    def __init__(self, folder: Path) -> None:
        self.client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
        self._id = self.client.get_experiment_by_name("fedpriv").experiment_id

    def runs(self) -> list[Run]:
        return list(self.client.search_runs([self._id]))

    def parents(self) -> list[Run]:
        return [run for run in self.runs() if "fedpriv_kind" in run.data.tags]

    def members(self, parent: Run) -> dict[int, Run]:
        """The runs of a sweep's jobs by number; each number once."""
        tag = f"sweep.{parent.info.run_id}"
        members = [run for run in self.runs() if tag in run.data.tags]
        numbers = {int(run.data.tags[tag]): run for run in members}
        assert len(numbers) == len(members)
        return numbers

    def table(self, parent: Run, folder: Path, *without: str) -> list[dict[str, str]]:
        """The sweep's final table, without some columns."""
        path = self.client.download_artifacts(parent.info.run_id, "sweep.csv", str(folder))
        with Path(path).open() as file:
            return [{k: v for k, v in row.items() if k not in without} for row in csv.DictReader(file)]
