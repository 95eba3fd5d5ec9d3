"""Sweeps in MLflow: on a store that many processes open at the same moment, made anew or of another sweep."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient

from fedpriv.errors import UserError
from fedpriv.tracking.sweeps import JOB_KEY, Member, SweepRuns, has_store, member_tag

KEY, OTHER = "0123456789abcdef" * 2, "f" * 32
START = """
import os, sys
from pathlib import Path
import mlflow.store.tracking.sqlalchemy_store
from fedpriv.tracking.sweeps import Member, SweepRuns

uri, key, count = sys.argv[1], sys.argv[2], int(sys.argv[3])

def start(number):
    runs = SweepRuns.open(uri, "e")
    parent = runs.parent("sweep", key, "sweep", ["seed=0,1"], count)
    member = Member(parent, number, f"{number:032x}")
    with runs.lock(member.key):
        runs.refused(member, "job", "no reason", {"seed": number}, [], Path("/nowhere"))
    os.write(1, f"{parent}\\n".encode())

# forks, as importing takes ten times as long as all else; they begin when the last of them is there
wait, now = os.pipe()
forks = []
for number in range(count):
    forks.append(os.fork())
    if not forks[-1]:
        os.close(now)
        os.read(wait, 1)
        start(number)
        os._exit(0)
os.close(now)
sys.exit(sum(os.waitpid(fork, 0)[1] != 0 for fork in forks))
"""
HOLD = """
import sys
from fedpriv.tracking.sweeps import SweepRuns
with SweepRuns.open(sys.argv[1], "e").lock(sys.argv[2]):
    print("held", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def runs(tmp_path, database):
    return SweepRuns.open(database(tmp_path / "mlflow.db"), "e")


@pytest.fixture
def parent(runs):
    return runs.parent("sweep", KEY, "sweep seed:2", ["seed=0,1"], 2)


def made(runs, member, reason="no reason"):
    return runs.refused(member, "job", reason, {"seed": member.number}, ["seed=0"], Path("/folder/0"))


@pytest.mark.slow
def test_eight_processes_that_start_a_sweep_at_once_on_a_fresh_database_all_succeed_and_share_it(tmp_path):
    uri = f"sqlite:///{tmp_path}/fresh.db"
    started = subprocess.run(
        [sys.executable, "-c", START, uri, KEY, "8"], capture_output=True, text=True, check=False
    )
    assert (started.returncode, started.stderr) == (0, "")
    parents = started.stdout.split()
    assert len(parents) == 8
    assert len(set(parents)) == 1
    members = SweepRuns.open(uri, "e").members(parents[0])
    assert sorted(run.params["seed"] for run in members) == [str(number) for number in range(8)]


def test_a_repeated_sweep_is_the_same_run_open_again(runs, parent):
    runs.end_parent(parent, "FAILED", {"sweep_failed": "1"}, {"sweep.md": "| a |\n"})
    assert runs.parent("sweep", KEY, "again", ["seed=0,1"], 2) == parent
    again = runs.run(parent)
    assert (again.status, again.name) == ("RUNNING", "sweep seed:2")
    assert runs.parent("search", KEY, "search", [], None) != parent
    assert runs.parent("sweep", OTHER, "sweep", [], 1) != parent


def test_a_parents_overrides_hide_secrets(runs):
    parent = runs.parent("sweep", OTHER, "sweep", ["auth.token=hunter22", "seed=0,1"], 2)
    assert runs.run(parent).tags["overrides"] == "'auth.token=<hidden>' seed=0,1"


def test_a_finished_run_of_a_job_comes_first_whatever_was_tried_later(runs, parent):
    first = made(runs, Member(parent, 0, OTHER))
    MlflowClient(runs.location.uri).set_terminated(first, "FINISHED")
    later = made(runs, Member(parent, 0, OTHER))
    assert [run.run_id for run in runs.job_runs(OTHER)] == [first, later]
    assert runs.job_runs(KEY) == []


def test_a_run_can_be_a_member_of_several_sweeps(runs, parent):
    second = runs.parent("sweep", OTHER, "second", [], 1)
    run_id = made(runs, Member(parent, 1, OTHER))
    runs.join(run_id, Member(second, 0, OTHER))
    assert (
        [run.run_id for run in runs.members(parent)]
        == [run.run_id for run in runs.members(second)]
        == [run_id]
    )
    tags = runs.run(run_id).tags
    assert (tags[member_tag(parent)], tags[member_tag(second)], tags["mlflow.parentRunId"]) == (
        "1",
        "0",
        parent,
    )


def test_a_refused_job_is_a_failed_run_with_its_settings_and_no_secret(runs, parent):
    member = Member(parent, 3, OTHER)
    config = {"seed": 7, "auth": {"token": "hunter22"}, "n": {"m": [1, 2]}}
    run_id = runs.refused(
        member, "job 3", "token hunter22 is bad", config, ["auth.token=hunter22"], Path("/f")
    )
    run = runs.run(run_id)
    assert run.status == "FAILED"
    assert run.params == {"seed": "7", "auth.token": "<hidden>", "n.m": "[1, 2]"}
    assert run.tags["failure"] == "token <hidden> is bad"
    assert run.tags[JOB_KEY] == OTHER
    assert "hunter22" not in repr(run)


def test_what_is_computed_anew_replaces_what_was_tried(runs, parent):
    refused = made(runs, Member(parent, 0, OTHER))
    tried = made(runs, Member(parent, 0, OTHER))
    client = MlflowClient(runs.location.uri)
    client.delete_tag(tried, "refused")
    client.update_run(tried, status="RUNNING")
    runs.replace(runs.job_runs(OTHER), parent)
    assert runs.members(parent) == []
    assert client.get_run(refused).info.lifecycle_stage == "deleted"
    assert (runs.run(tried).status, runs.run(tried).tags["failure"]) == (
        "KILLED",
        "killed; it was computed anew",
    )


def test_a_job_that_another_process_has_is_waited_for_and_not_lost(runs, parent):
    run_id = made(runs, Member(parent, 0, OTHER))
    MlflowClient(runs.location.uri).update_run(run_id, status="RUNNING")
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, runs.location.uri, OTHER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout.readline() == "held\n"
        assert not runs.is_lost(runs.run(run_id))
        with runs.lock(KEY):
            pass  # another job is free
        order = []
        waiting = threading.Thread(target=lambda: _wait(runs, order))
        waiting.start()
        time.sleep(0.5)
        order.append("freed")
        holder.kill()
        waiting.join(30)
        assert order == ["freed", "had"]
    assert runs.is_lost(runs.run(run_id))
    runs.end_lost([runs.run(run_id)], "killed")
    assert runs.run(run_id).status == "KILLED"
    assert not runs.is_lost(runs.run(run_id))


def _wait(runs, order):
    with runs.lock(OTHER):
        order.append("had")


@pytest.mark.parametrize("key", ["", "abc", "x" * 32, "0" * 20 + "'", "0" * 20 + " or 1"])
def test_what_is_no_key_never_reaches_a_filter(runs, key):
    with pytest.raises(ValueError, match=r"hexadecimal|invalid literal"):
        runs.job_runs(key)


def test_asking_for_a_store_makes_none(tmp_path, database):
    assert not has_store(f"sqlite:///{tmp_path}/none.db")
    assert not list(tmp_path.iterdir())
    assert has_store(database(tmp_path / "some.db"))
    assert has_store("http://127.0.0.1:1")
    (tmp_path / "text.db").write_text("no database, but long enough")
    with pytest.raises(UserError, match="is no SQLite database"):
        has_store(f"sqlite:///{tmp_path}/text.db")
