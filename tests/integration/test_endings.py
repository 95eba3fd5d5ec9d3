"""How runs end when something ends them: nothing secret, running or half-written stays behind."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.integration.forked import run_forked
from tests.sweeps.commands import Started

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

Begin = Callable[..., AbstractContextManager[Started | subprocess.Popen[str]]]

SMALL = (
    "data.people=8",
    "data.images_per_person=16",
    "evaluation.test_subjects=2",
    "evaluation.pictures=0",
    "federation.clients=4",
    "tracking.log_model=false",
)


@contextmanager
def started(folder: Path, *overrides: str) -> Iterator[Started]:
    """A run in another process, which is gone after the block whatever fails in it."""
    process = Started(folder, ["run", *SMALL, *overrides])
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@contextmanager
def started_afresh(folder: Path, *overrides: str) -> Iterator[subprocess.Popen[str]]:
    """A run as a shell starts it, which is gone after the block whatever fails in it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "fedpriv.cli", "run", *SMALL, *overrides],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


def keys_of(process: int) -> Path:
    """The folder of keys whose lock the process holds."""
    opened = []
    for each in Path(f"/proc/{process}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed since it was listed
            opened.append(each.readlink())
    (folder,) = {path.parent for path in opened if path.match("fedpriv-*/lock")}
    return folder


def wait_for_rounds(folder: Path) -> None:
    for _ in range(6000):
        logs = list(folder.glob("outputs/*/*/run.log"))
        if logs and "round 1/" in logs[0].read_text():
            return
        time.sleep(0.02)
    pytest.fail("the run did not reach round 1 within two minutes")


def only_run(folder: Path) -> tuple["MlflowClient", "Run"]:
    """The single MLflow run of the experiments that were run in ``folder``."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    (found,) = client.search_runs([client.get_experiment_by_name("fedpriv").experiment_id])
    return client, found


def end(folder: Path, ending: signal.Signals, rounds: int, begin: Begin = started) -> None:
    """Signal a run after its first round; if it can hear it, it puts its key away and marks itself killed."""
    with begin(folder, "secure=bfv", f"federation.rounds={rounds}", "engine.workers=2") as process:
        wait_for_rounds(folder)
        keys = keys_of(process.pid)
        assert list(keys.glob("clients/*/*.key"))
        os.kill(process.pid, ending)
        _, errors = process.communicate(timeout=60)
    if ending == signal.SIGKILL:
        return
    assert process.returncode == 128 + ending
    assert "Traceback" not in errors
    assert not keys.exists()
    assert only_run(folder)[1].info.status == "KILLED"


@pytest.mark.slow
def test_an_interrupted_run_puts_its_key_away_and_marks_itself_killed(tmp_path):
    end(tmp_path, signal.SIGINT, rounds=5000, begin=started_afresh)


@pytest.mark.slow
@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGTERM])
def test_an_ended_run_is_resumed_from_any_folder_in_its_own_mlflow_run(tmp_path, ending):
    """A terminated one has put its key away and marked itself killed before, like an interrupted one."""
    work, elsewhere = tmp_path / "work", tmp_path / "elsewhere"
    work.mkdir()
    elsewhere.mkdir()
    end(work, ending, rounds=12)
    (output,) = work.glob("outputs/*/*")
    assert "round 12/" not in (output / "run.log").read_text()
    done = run_forked(["fedpriv", "resume", str(output)], elsewhere)
    assert done.returncode == 0, done.stderr
    assert not list(elsewhere.iterdir())
    client, run = only_run(work)
    assert run.info.status == "FINISHED"
    assert "failure" not in run.data.tags
    steps = [metric.step for metric in client.get_metric_history(run.info.run_id, "angular_error_deg")]
    assert sorted(steps) == list(range(13))
    assert [line.count("round 12/12") for line in (output / "run.log").read_text().splitlines()].count(1) == 1


@pytest.mark.slow
def test_workers_die_with_a_killed_parent_even_with_a_client_that_hangs(tmp_path):
    faults = "federation.faults=[0:silent,1:silent]"
    workers: set[int] = set()
    with started(tmp_path, faults, "engine.workers=2", "tracking=none") as process:
        for _ in range(600):
            workers = {each for nursery in _children(process.pid) for each in _children(nursery)}
            if len(workers) >= 2 and list(tmp_path.glob("outputs/*/*/run.log")):
                break
            time.sleep(0.1)
        time.sleep(3)
    assert len(workers) == 2
    for _ in range(100):
        alive = {pid for pid in workers if Path(f"/proc/{pid}").exists() and _running(pid)}
        if not alive:
            break
        time.sleep(0.1)
    assert not alive


def _children(pid: int) -> set[int]:
    listed = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False
    )
    return {int(word) for word in listed.stdout.split()}


def _running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(") ")[-1][0] != "Z"
    except OSError:
        return False


def test_the_installed_command_and_the_module_are_the_same(tmp_path):
    tool = Path(sys.executable).with_name("fedpriv")
    outputs = [
        subprocess.run([*command, "--help"], capture_output=True, text=True, check=True, cwd=tmp_path).stdout
        for command in ([tool], [sys.executable, "-m", "fedpriv.cli"])
    ]
    assert outputs[0] == outputs[1]
    assert "run" in outputs[0]


def test_an_unwritable_output_folder_is_one_line(tmp_path):
    done = run_forked(["fedpriv", "run", *SMALL, "hydra.run.dir=/proc/nowhere"], tmp_path)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "/proc/nowhere" in done.stderr
