"""A process of joblib's that is killed: its job is FAILED, and all that have not ended are launched again."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from hydra.core.plugins import Plugins
from joblib import Parallel, delayed
from joblib.externals.loky import get_reusable_executor
from joblib.externals.loky.process_executor import BrokenProcessPool
from omegaconf import OmegaConf

from fedpriv.sweeps import plugin, sweep
from fedpriv.sweeps.joblib_launcher import Joblib
from fedpriv.sweeps.processes import Process
from fedpriv.sweeps.record import SweepRecord
from fedpriv.sweeps.reports import Report, ReportFile
from fedpriv.tracking.sweeps import Member, SweepRuns
from tests.sweeps.killed import job

JoblibLauncher = Joblib.__base__
"""Not as imported here: Hydra, looking for plugins, loads their modules anew."""
KEYS = {number: f"{number:032x}" for number in range(4)}
REASON = "its process was killed, by lack of memory?"


def ended_process() -> Process:
    """Return a process that is gone, as its job told of it while it lived."""
    with subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE
    ) as child:
        started = int(Path(f"/proc/{child.pid}/stat").read_text().rpartition(") ")[2].split()[19])
        return Process(Process.own().machine, child.pid, started)


@pytest.fixture
def begun(tmp_path, monkeypatch):
    """Return a function that launches a sweep of four jobs in ``tmp_path``, tracked or not."""
    made = []

    def launched(**tracking):
        settings = {
            "runtime": {"cwd": str(tmp_path)},
            "sweep": {"dir": "."},
            "launcher": {"_target_": "x.JoblibLauncher", "n_jobs": 2},
            "overrides": {"hydra": [], "task": ["seed=0,1,2,3"]},
        }
        config = {"hydra": settings, "tracking": {"experiment": "e", "enabled": False, **tracking}}
        named = {number: (f"seed={number}",) for number in KEYS}
        made.append(sweep.Sweep(OmegaConf.create(config), "sweep", "f" * 32, "sweep", KEYS, named))
        monkeypatch.setattr(sweep, "current", made[0])
        made[0].launch()
        return made[0]

    yield launched
    for each in made:
        each._stop()


def launch_jobs(self, job_overrides, initial_job_idx):
    folder = str(sweep.current.folder)
    return Parallel(n_jobs=2, backend="loky")(delayed(job)(folder, each) for each in range(4))


def test_the_job_that_was_killed_is_failed_and_the_others_are_launched_again(tmp_path, begun, monkeypatch):
    monkeypatch.setattr(JoblibLauncher, "launch", launch_jobs)
    parts = begun()
    try:
        assert Joblib().launch([[]] * 4, 0) == [0, 1, 2, 3]
    finally:
        get_reusable_executor().shutdown(kill_workers=True)
    parts._stop()
    assert {number: report.state for number, report in parts.reports.items()} == {
        0: "failed",
        1: "finished",
        2: "finished",
        3: "finished",
    }
    assert parts.reports[0].reason == REASON
    attempts = (tmp_path / "attempts").read_text().split()
    assert (attempts.count("0"), attempts.count("1")) == (1, 2)  # the second was killed by joblib alone


def test_jobs_that_joblib_ended_are_launched_again_after_a_second_process_was_killed(begun, monkeypatch):
    """The job of the second launch is killed before the one that joblib ended in the first has told anew."""
    from joblib.externals.loky import process_executor

    monkeypatch.setattr(process_executor, "kill_process_tree", lambda process: None)
    parts = begun()
    told, launches = ReportFile(parts.folder), []

    def launch_jobs(self, job_overrides, initial_job_idx):
        launches.append(dict(SweepRecord.read(parts.folder).finished))
        if len(launches) > 2:
            return ["ended"]
        killed = ended_process()
        told.append(Report(2 * len(launches) - 2, "running", process=killed))
        if len(launches) == 1:
            other = ended_process()
            told.append(Report(1, "running", process=other))
            process_executor.kill_process_tree(SimpleNamespace(pid=other.pid, exitcode=None))
        raise BrokenProcessPool

    monkeypatch.setattr(JoblibLauncher, "launch", launch_jobs)
    assert Joblib().launch([[]] * 4, 0) == ["ended"]
    assert [sorted(finished) for finished in launches] == [[], ["0"], ["0", "2"]]


def test_where_no_job_is_known_to_have_been_killed_nothing_is_launched_again(begun, monkeypatch):
    launches = []

    def broken(self, job_overrides, initial_job_idx):
        launches.append(initial_job_idx)
        raise BrokenProcessPool

    monkeypatch.setattr(JoblibLauncher, "launch", broken)
    begun()
    with pytest.raises(BrokenProcessPool):
        Joblib().launch([[]] * 4, 0)
    assert launches == [0]


def test_the_run_of_a_killed_job_is_failed_with_the_reason_and_what_ended_is_not_run_again(
    tmp_path, begun, database
):
    uri = database(tmp_path / "mlflow.db")
    parts = begun(enabled=True, uri=uri)
    runs = SweepRuns.open(uri, "e")
    gone, other = ended_process(), ended_process()
    made = {}
    for number in (0, 1):
        made[number] = runs.refused(Member(parts.parent, number, KEYS[number]), "job", "", {}, [], tmp_path)
        runs._client.update_run(made[number], status="RUNNING")
    file = ReportFile(tmp_path)
    for report in (
        Report(0, "running", process=gone),
        Report(1, "running", process=Process.own()),
        Report(2, "finished", "error", 0.5),
        Report(3, "running", process=other),
    ):
        file.append(report)
    assert not parts.go_on_without({gone.pid, other.pid})  # killed because another was
    assert parts.go_on_without({other.pid})
    assert not parts.go_on_without({other.pid})  # it is said once
    run = runs.run(made[0])
    assert (run.status, run.tags["failure"]) == ("FAILED", REASON)
    assert runs.run(made[1]).status == "RUNNING"
    found = SweepRecord.read(tmp_path).finished
    assert {number: report["state"] for number, report in found.items()} == {"0": "failed", "2": "finished"}
    assert found["0"]["run_id"] == made[0]


def test_hydra_makes_our_launcher_where_joblibs_is_asked_for():
    plugin.register()
    name = f"{JoblibLauncher.__module__}.JoblibLauncher"
    assert Plugins.instance()._instantiate(OmegaConf.create({"_target_": name, "n_jobs": 2})).joblib == {
        "n_jobs": 2
    }
    assert Plugins.instance().class_name_to_class[name] is Joblib
