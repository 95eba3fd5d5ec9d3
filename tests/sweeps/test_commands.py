"""Sweeps as a user starts them, with Hydra's own launcher; the other launchers are in test_launchers."""

import json
from pathlib import Path

import pytest

from tests.sweeps.commands import SMALL, Store


@pytest.fixture(scope="module")
def four(sweep, tmp_path_factory):
    """A finished sweep of 2 x 2 jobs: its folder and what it printed."""
    folder = tmp_path_factory.mktemp("four")
    return folder, sweep(folder, "seed=0,1", "training.learning_rate=0.01,0.02")


def test_every_job_is_a_finished_child_of_one_parent(four, tmp_path):
    folder, done = four
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.rstrip().splitlines()[-1].startswith("4 jobs: 4 finished (0 reused); MLflow run ")
    store = Store(folder)
    (parent,) = [run for run in store.parents() if run.data.tags["sweep_jobs"] == "4"]
    tags = parent.data.tags
    assert (parent.info.status, tags["fedpriv_kind"]) == ("FINISHED", "sweep")
    counts = [tags[f"sweep_{state}"] for state in ("finished", "failed", "skipped")]
    assert counts in (["4", "0", "0"], ["4", "0", "4"])  # another test may have repeated it
    assert "seed=0,1" in tags["overrides"]
    members = store.members(parent)
    assert sorted(members) == [0, 1, 2, 3]
    assert {run.info.status for run in members.values()} == {"FINISHED"}
    assert {run.data.tags["mlflow.parentRunId"] for run in members.values()} == {parent.info.run_id}
    keys = {run.data.tags["job_key"] for run in members.values()}
    assert len(keys) == 4
    assert all(len(key) == 32 and int(key, 16) >= 0 for key in keys)
    settings = {
        n: (run.data.params["seed"], run.data.params["training.learning_rate"]) for n, run in members.items()
    }
    assert settings == {0: ("0", "0.01"), 1: ("0", "0.02"), 2: ("1", "0.01"), 3: ("1", "0.02")}
    for row in store.table(parent, tmp_path):
        run = members[int(row["job"])]
        assert row["run"] == run.info.run_id
        assert float(row["angular_error_deg"]) == run.data.metrics["angular_error_deg"]


def test_a_repeated_sweep_computes_nothing_and_writes_no_folder(four, sweep):
    folder, _ = four
    store = Store(folder)
    before = {run.info.run_id for run in store.runs()}
    folders = list(folder.glob("multirun/*/*"))
    again = sweep(folder, "seed=0,1", "training.learning_rate=0.01,0.02")
    assert again.returncode == 0
    assert "4 jobs: 4 finished (4 reused)" in again.stdout
    assert {run.info.run_id for run in store.runs()} == before
    assert list(folder.glob("multirun/*/*")) == folders
    kept = {Path(run.data.tags["sweep_dir"]) for run in store.parents()}
    assert kept
    assert all(path.is_dir() for path in kept)  # that of the command that made it


def test_a_larger_sweep_reuses_what_a_smaller_one_has_computed(four, sweep):
    folder, _ = four
    done = sweep(folder, "training.learning_rate=0.02", "seed=0,1,2", "engine.threads=2")
    assert done.returncode == 0, done.stderr
    assert "3 jobs: 3 finished (2 reused)" in done.stdout
    store = Store(folder)
    (parent,) = [run for run in store.parents() if run.data.tags["sweep_jobs"] == "3"]
    members = store.members(parent)
    assert parent.data.tags["sweep_skipped"] == "2"
    assert members[0].data.tags["mlflow.parentRunId"] != parent.info.run_id  # shown under its first sweep
    assert members[2].data.tags["mlflow.parentRunId"] == parent.info.run_id


def test_a_job_that_is_refused_is_a_failed_child_and_the_others_go_on(tmp_path, sweep):
    done = sweep(tmp_path, "federation.clients=4,400")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("fedpriv: job 1 (federation.clients=400) failed: ")
    store = Store(tmp_path)
    (parent,) = store.parents()
    members = store.members(parent)
    assert (parent.info.status, members[0].info.status, members[1].info.status) == (
        "FAILED",
        "FINISHED",
        "FAILED",
    )
    assert members[1].data.params["federation.clients"] == "400"
    assert members[1].data.tags["failure"] in line
    assert parent.data.tags["sweep_failed"] == "1"
    again = sweep(tmp_path, "federation.clients=4,400")
    assert again.returncode == 1
    assert "2 jobs: 1 finished, 1 failed (1 reused)" in again.stdout
    assert sorted(store.members(parent)) == [0, 1]  # what is refused twice is there once


def test_a_sweep_of_which_every_job_is_refused_is_refused_and_leaves_nothing(tmp_path, sweep):
    work = tmp_path / "work"
    work.mkdir()
    done = sweep(work, "federation.clients=400,500")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("fedpriv: all 2 jobs are refused: federation.clients=400")
    assert not list(work.iterdir())


def test_a_sweep_over_what_is_no_setting_is_one_line(tmp_path, sweep):
    work = tmp_path / "work"
    work.mkdir()
    done = sweep(work, "training.learning_rte=1,2")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "training.learning_rate" in done.stderr
    assert not list(work.iterdir())


def test_without_tracking_every_job_is_run_and_that_is_said_once(tmp_path, sweep):
    for _ in range(2):
        done = sweep(tmp_path, "seed=0,1", "tracking=none")
        assert done.returncode == 0
        assert "2 jobs: 2 finished (0 reused)" in done.stdout
        assert done.stdout.count("tracking=none: every job is run") == 1
    assert not (tmp_path / "mlflow.db").exists()


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (
            ["tracking.experiment=fedpriv,other"],
            "jobs 0 and 1 (tracking.experiment=other) differ in tracking.experiment (fedpriv, other); a "
            "sweep is kept in one place: give one tracking.experiment=...",
        ),
        (
            ["+experiment=quantisation,quickstart"],
            "+experiment=quantisation: is a sweep of its own over secure.bits, seed, not run beside others; "
            "give it alone, without a list of values",
        ),
        (
            ["tracking.uri=postgresql://me:SECRET@host/mlflow", "seed=0,1"],
            "tracking.uri: holds a password, which would be written to files; leave it away: PostgreSQL "
            "takes it from the variable PGPASSWORD or ~/.pgpass, MySQL from the file that "
            "?read_default_file= names",
        ),
    ],
)
def test_what_is_no_sweep_is_refused_in_one_line_before_a_file_is_written(tmp_path, sweep, overrides, said):
    work = tmp_path / "work"
    work.mkdir()
    done = sweep(work, *overrides)
    assert (done.returncode, done.stderr) == (2, f"fedpriv: {said}\n")
    assert "SECRET" not in done.stdout
    assert not list(work.iterdir())


@pytest.mark.parametrize("more", [[], ["hydra/sweeper=search", "seed=choice(0,1)"]])
def test_a_password_in_a_file_of_settings_is_refused_too(tmp_path, sweep, more):
    work, presets = tmp_path / "work", tmp_path / "presets" / "experiment"
    work.mkdir()
    presets.mkdir(parents=True)
    (presets / "mine.yaml").write_text(
        "# @package _global_\ntracking:\n  uri: https://me:SECRET@127.0.0.1:9\n"
    )
    done = sweep(work, f"hydra.searchpath=[file://{presets.parent}]", "+experiment=mine", *more)
    assert done.returncode == 2
    assert done.stderr.startswith("fedpriv: tracking.uri: holds a password")
    assert done.stderr.count("\n") == 1
    assert "SECRET" not in done.stderr + done.stdout
    assert not list(work.iterdir())


def test_a_store_that_is_broken_when_the_sweep_begins_is_one_line(tmp_path, sweep):
    work = tmp_path / "work"
    work.mkdir()
    (work / "mlflow.db").write_text("no database")
    done = sweep(work, "seed=0,1")
    assert done.returncode == 2
    assert done.stderr == (
        f"fedpriv: tracking.uri=sqlite:///{work}/mlflow.db: is no SQLite database; name another file\n"
    )
    assert [path.name for path in work.iterdir()] == ["mlflow.db"]


def test_runs_say_what_was_chosen_of_the_groups_that_the_command_names(tmp_path, sweep):
    done = sweep(tmp_path, "strategy=fedavg,fedprox", "partition=iid", "federation.rounds=1")
    assert done.returncode == 0, done.stderr
    store = Store(tmp_path)
    (parent,) = store.parents()
    said = [
        {name: text for name, text in run.data.tags.items() if name.startswith("choice.")}
        for _, run in sorted(store.members(parent).items())
    ]
    assert said == [
        {"choice.strategy": "fedavg", "choice.partition": "iid"},
        {"choice.strategy": "fedprox", "choice.partition": "iid"},
    ]


def test_a_sweep_that_asks_for_models_does_not_take_runs_without_them(tmp_path, sweep):
    assert sweep(tmp_path, "seed=0", "federation.rounds=1").returncode == 0
    asked = ("seed=0", "federation.rounds=1", "tracking.log_model=true")
    done = sweep(tmp_path, *asked)
    assert done.returncode == 0, done.stderr
    assert "1 job: 1 finished (0 reused)" in done.stdout
    store = Store(tmp_path)
    (parent,) = store.parents()
    (run,) = store.members(parent).values()
    assert run.data.params["tracking.log_model"] == "true"
    again = sweep(tmp_path, *asked, "tracking.register=gaze")
    assert "1 job: 1 finished (1 reused)" in again.stdout
    (version,) = store.client.search_model_versions("name = 'gaze'")
    assert version.run_id == run.info.run_id


def test_jobs_say_nothing_of_their_own_on_the_terminal_and_all_in_their_log(tmp_path, sweep):
    done = sweep(tmp_path, "seed=5,6")
    assert "Run summary" not in done.stdout
    assert [line.split(" | ")[:2] for line in done.stdout.splitlines()[:2]] == [
        ["1/2", "seed=5"],
        ["2/2", "seed=6"],
    ]
    (folder,) = tmp_path.glob("multirun/*/*")
    for number in (0, 1):
        log = (folder / str(number) / "run.log").read_text()
        assert log.count("round 2/2") == 1  # nothing of the other job's
    assert json.loads((folder / "sweep.json").read_text())["at_once"] == 1


def test_the_settings_of_the_tests_say_where_and_how_small_only():
    assert not any(setting.startswith(("seed", "training")) for setting in SMALL)


def test_jobs_that_compute_the_same_are_refused_before_any_begins(tmp_path, sweep):
    done = sweep(tmp_path, "engine.threads=1,2")
    assert done.returncode == 2
    assert "jobs 0 (engine.threads=1) and 1 (engine.threads=2) compute the same" in done.stderr
    assert not list(tmp_path.glob("**/sweep.json"))
