"""Sweeps by the command line, in forks of a process that has imported everything: see ``command_forks``."""

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Run

from tests.conftest import ROOT

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


@contextmanager
def forks() -> Iterator[Callable[..., Done]]:
    """Give a function that runs ``fedpriv run -m`` with small runs and further overrides in a folder."""
    parent = subprocess.Popen(
        [sys.executable, "-m", "tests.integration.command_forks"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    )

    def sweep(folder: Path, *overrides: str) -> Done:
        said = {stream: str(folder.with_name(f"{folder.name}.{stream}")) for stream in ("stdout", "stderr")}
        arguments = ["run", "-m", *SMALL, *overrides]
        parent.stdin.write(json.dumps({"arguments": arguments, "folder": str(folder), **said}) + "\n")
        code = int(parent.stdout.readline())
        return subprocess.CompletedProcess(
            arguments, code, *(Path(path).read_text() for path in said.values())
        )

    with parent:
        yield sweep
        parent.stdin.close()


def start(folder: Path, *overrides: str, multirun: bool = True) -> subprocess.Popen[str]:
    """Begin a sweep (or one run) in a process of its own, which other processes can be started from."""
    return subprocess.Popen(
        [sys.executable, "-m", "fedpriv.cli", "run", *(["-m"] if multirun else []), *SMALL, *overrides],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=dict(os.environ),
        start_new_session=True,
    )


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
