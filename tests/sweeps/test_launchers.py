"""Sweeps whose jobs run in other processes: side by side, in processes used again, and cut off."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.sweeps.commands import Store, start

pytestmark = pytest.mark.slow

TWO = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
TWELVE = ("seed=0,1,2", "training.learning_rate=0.01,0.02", "training.batch_size=8,16")
LONG = ("seed=0,1,2", "federation.rounds=40")


@pytest.fixture(scope="module")
def undisturbed(sweep, tmp_path_factory):
    """The final table of the long sweep, one job after the other and never cut off."""
    folder = tmp_path_factory.mktemp("undisturbed")
    done = sweep(folder, *LONG)
    assert done.returncode == 0, done.stderr
    return final_table(folder, folder)


def final_table(folder, scratch):
    store = Store(folder)
    (parent,) = store.parents()
    return store.table(parent, scratch, "run")


def end(process, patience=300):
    output, errors = process.communicate(timeout=patience)
    return process.returncode, output, errors


def reports(folder):
    texts = [path.read_text() for path in folder.glob("multirun/*/*/jobs.jsonl")]
    return [json.loads(line) for text in texts for line in text.splitlines()]


def wait_for_the_middle(folder, process):
    """Wait until a job is done and the last, which began after it, has kept a round: its end is far."""
    for _ in range(3000):
        told = reports(folder)
        done = {each["number"] for each in told if each["state"] == "finished"}
        kept = {int(path.parts[-3]) for path in folder.glob("multirun/*/*/*/checkpoint/state.npz")}
        if done and 2 in kept - done:
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    pytest.fail("no job was done within five minutes")


def alive(session):
    """The processes of a session, and those that its processes have started into sessions of their own."""
    listed = subprocess.run(
        ["ps", "-wweo", "pid=,sid=,stat=,args="], capture_output=True, text=True, check=True
    )
    rows = [line.split(None, 3) for line in listed.stdout.splitlines()]
    return [row for row in rows if int(row[1]) == session and not row[2].startswith("Z")]


def assert_gone(session, patience=40):
    for _ in range(patience * 10):
        if not alive(session):
            return
        time.sleep(0.1)
    pytest.fail(f"still there: {alive(session)}")


def test_twelve_jobs_in_two_processes_are_twelve_children_and_are_not_computed_again(tmp_path, sweep):
    folder, alone = tmp_path / "parallel", tmp_path / "alone"
    folder.mkdir()
    alone.mkdir()
    code, _, errors = end(start(folder, *TWELVE, *TWO, spared=False))
    assert (code, errors) == (0, "")
    store = Store(folder)
    (parent,) = store.parents()
    members = store.members(parent)
    assert sorted(members) == list(range(12))
    assert {run.info.status for run in members.values()} == {"FINISHED"}
    processes = {each["process"]["pid"] for each in reports(folder) if each["process"]}
    assert len(processes) == 2  # each was given several jobs, and none the launcher's process
    before = {run.info.run_id for run in store.runs()}
    again = sweep(folder, *TWELVE, *TWO)
    assert again.returncode == 0
    assert "12 jobs: 12 finished (12 reused)" in again.stdout
    assert {run.info.run_id for run in store.runs()} == before

    # the last job of a process that was used for others before, bit by bit what it is in a process of its own
    last = members[11].data
    done = sweep(alone, "seed=2", "training.learning_rate=0.02", "training.batch_size=16")
    assert done.returncode == 0, done.stderr
    (one,) = Store(alone).members(Store(alone).parents()[0]).values()
    times = {name for name in last.metrics if name.startswith("seconds_")}
    assert {k: v for k, v in one.data.metrics.items() if k not in times} == {
        k: v for k, v in last.metrics.items() if k not in times
    }


def test_eight_sweeps_that_are_started_at_once_on_a_fresh_database_are_one_sweep(tmp_path):
    started = [start(tmp_path, "seed=0,1", "federation.rounds=1", spared=False) for _ in range(8)]
    ended = [end(process) for process in started]
    assert [(code, errors) for code, _, errors in ended] == [(0, "")] * 8
    assert all("2 jobs: 2 finished" in output for _, output, _ in ended)
    store = Store(tmp_path)
    (parent,) = store.parents()
    assert parent.info.status == "FINISHED"
    members = store.members(parent)
    assert {number: run.info.status for number, run in members.items()} == {0: "FINISHED", 1: "FINISHED"}
    assert len(store.runs()) == 3  # each job was computed once


def test_eight_runs_that_are_started_at_once_on_a_fresh_database_all_succeed(tmp_path):
    one = ("federation.rounds=1",)
    started = [start(tmp_path, f"seed={n}", *one, multirun=False, spared=False) for n in range(8)]
    ended = [end(process) for process in started]
    assert [code for code, _, _ in ended] == [0] * 8, ended
    runs = Store(tmp_path).runs()
    assert sorted(run.data.params["seed"] for run in runs) == [str(seed) for seed in range(8)]
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert {run.data.tags["log_dir"] for run in runs} == {
        str(path.parent) for path in tmp_path.glob("outputs/*/*/checkpoint")
    }
    assert len(list(tmp_path.glob("outputs/*/*"))) == 8


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_sweep_that_is_ended_in_the_middle_goes_on_when_repeated(tmp_path, ending, undisturbed):
    folder = tmp_path / "work"
    folder.mkdir()
    process = start(folder, *LONG, *TWO)
    wait_for_the_middle(folder, process)
    os.kill(process.pid, ending)
    code, _, errors = end(process)
    assert_gone(process.pid)
    store = Store(folder)
    if ending != signal.SIGKILL:
        assert code == 128 + ending
        assert "fedpriv: sweep interrupted; " in errors
        assert "repeat the command to go on" in errors
        assert {run.info.status for run in store.runs()} <= {"KILLED", "FINISHED"}
    known = {run.info.run_id for run in store.runs()}
    cut_off = {run.info.run_id for run in store.runs() if run.info.status != "FINISHED"}
    code, output, errors = end(start(folder, *LONG, *TWO))
    assert (code, errors) == (0, "")
    assert "3 jobs: 3 finished" in output
    assert final_table(folder, tmp_path) == undisturbed
    assert {run.info.status for run in store.runs()} == {"FINISHED"}
    resumed = [
        run for run in store.runs() if "resumed_after_round" in run.data.tags and run.info.run_id in cut_off
    ]
    assert resumed
    assert len({run.info.run_id for run in store.runs()} - known) <= 1  # a job that had not begun


def test_a_job_whose_process_is_killed_is_failed_and_all_others_are_done(tmp_path):
    process = start(tmp_path, "seed=0,1,2,3", "federation.rounds=30", *TWO)
    running = {}
    while process.poll() is None and len(running) < 2:
        for each in reports(tmp_path):
            running[each["number"]] = each["process"]
        time.sleep(0.05)
    os.kill(running[1]["pid"], signal.SIGKILL)
    code, output, errors = end(process)
    assert (code, errors) == (
        1,
        "fedpriv: job 1 (seed=1) failed: its process was killed, by lack of memory?\n",
    )
    assert "4 jobs: 3 finished, 1 failed (0 reused)" in output
    store = Store(tmp_path)
    (parent,) = store.parents()
    states = {number: run.info.status for number, run in store.members(parent).items()}
    assert {number: state for number, state in states.items() if number != 1} == dict.fromkeys(
        (0, 2, 3), "FINISHED"
    )
    assert states.get(1, "FAILED") == "FAILED"  # it may have been killed before it had a run


def test_worker_processes_of_jobs_die_with_a_killed_launcher(tmp_path):
    process = start(tmp_path, "seed=0,1", "federation.rounds=3000", "engine.workers=2", *TWO)
    there = 0
    try:
        for _ in range(1800):
            # of each job the process that they are forked from, and two
            there = sum("engines.nursery" in row[3] for row in alive(process.pid))
            if there >= 6:
                break
            assert process.poll() is None
            time.sleep(0.1)
    finally:
        process.kill()
        end(process)
    assert there >= 6
    assert_gone(process.pid)


def test_jobs_of_submitit_are_children_too(tmp_path):
    code, output, errors = end(
        start(tmp_path, "seed=0,1", "hydra/launcher=submitit_local", "hydra.launcher.cpus_per_task=1")
    )
    assert code == 0, errors
    store = Store(tmp_path)
    (parent,) = store.parents()
    assert {run.info.status for run in store.members(parent).values()} == {"FINISHED"}
    assert "2 jobs: 2 finished (0 reused)" in output
    (record,) = (json.loads(path.read_text()) for path in Path(tmp_path).glob("multirun/*/*/sweep.json"))
    assert record["at_once"] == 2
