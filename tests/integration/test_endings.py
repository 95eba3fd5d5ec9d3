"""How runs end when something ends them: nothing secret, running or half-written stays behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SMALL = (
    "data.people=8",
    "data.images_per_person=16",
    "evaluation.test_subjects=2",
    "evaluation.pictures=0",
    "federation.clients=4",
    "tracking.log_model=false",
)


def start(folder: Path, *overrides: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "fedpriv.cli", "run", *SMALL, *overrides],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def keys() -> set[str]:
    return {str(path) for path in Path("/dev/shm").glob("fedpriv-*/clients/*/*.key")}  # noqa: S108


def wait_for_rounds(folder: Path) -> None:
    for _ in range(600):
        logs = list(folder.glob("outputs/*/*/run.log"))
        if logs and "round 1/" in logs[0].read_text():
            return
        time.sleep(0.1)
    pytest.fail("the run did not reach round 1 within a minute")


@pytest.mark.slow
@pytest.mark.parametrize(("ending", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_terminated_run_puts_its_key_away_and_marks_itself_killed(tmp_path, ending, status):
    from mlflow import MlflowClient

    before = keys()
    process = start(tmp_path, "secure=bfv", "federation.rounds=5000", "engine.workers=2")
    wait_for_rounds(tmp_path)
    assert keys() - before
    process.send_signal(ending)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == status
    assert "Traceback" not in errors
    assert not keys() - before
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    runs = client.search_runs([client.get_experiment_by_name("fedpriv").experiment_id])
    assert [run.info.status for run in runs] == ["KILLED"]


@pytest.mark.slow
@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGTERM])
def test_an_ended_run_is_resumed_from_any_folder_in_its_own_mlflow_run(tmp_path, ending):
    from mlflow import MlflowClient

    work, elsewhere = tmp_path / "work", tmp_path / "elsewhere"
    work.mkdir()
    elsewhere.mkdir()
    process = start(work, "secure=bfv", "federation.rounds=60", "engine.workers=2")
    wait_for_rounds(work)
    process.send_signal(ending)
    process.communicate(timeout=60)
    (output,) = work.glob("outputs/*/*")
    assert "round 60/" not in (output / "run.log").read_text()
    done = subprocess.run(
        [sys.executable, "-m", "fedpriv.cli", "resume", str(output)],
        cwd=elsewhere,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not list(elsewhere.iterdir())
    client = MlflowClient(f"sqlite:///{work}/mlflow.db")
    (run,) = client.search_runs([client.get_experiment_by_name("fedpriv").experiment_id])
    assert run.info.status == "FINISHED"
    assert "failure" not in run.data.tags
    steps = [metric.step for metric in client.get_metric_history(run.info.run_id, "angular_error_deg")]
    assert sorted(steps) == list(range(61))
    assert [line.count("round 60/60") for line in (output / "run.log").read_text().splitlines()].count(1) == 1


@pytest.mark.slow
def test_workers_die_with_a_killed_parent_even_with_a_client_that_hangs(tmp_path):
    process = start(tmp_path, "federation.faults=[0:silent,1:silent]", "engine.workers=2", "tracking=none")
    children: set[int] = set()
    for _ in range(600):
        listed = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(process.pid)], capture_output=True, text=True, check=False
        )
        children = {int(word) for word in listed.stdout.split()}
        if len(children) >= 2 and list(tmp_path.glob("outputs/*/*/run.log")):
            break
        time.sleep(0.1)
    time.sleep(3)
    process.kill()
    process.communicate()
    for _ in range(100):
        alive = {pid for pid in children if Path(f"/proc/{pid}").exists() and _running(pid)}
        if not alive:
            break
        time.sleep(0.1)
    assert not alive


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
    done = subprocess.run(
        [sys.executable, "-m", "fedpriv.cli", "run", *SMALL, "hydra.run.dir=/proc/nowhere"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ},
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "/proc/nowhere" in done.stderr
