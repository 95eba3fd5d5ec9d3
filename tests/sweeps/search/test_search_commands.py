"""Searches as a user starts them."""

import json
import os
import re
import signal
import time
from pathlib import Path

import optuna
import pytest

from fedpriv.sweeps.reports import Report
from tests.sweeps.commands import Store, start, sweep

pytestmark = pytest.mark.slow

SEARCH = (
    "hydra/sweeper=search",
    "training.learning_rate=tag(log,interval(1e-4,1e-1))",
    "training.batch_size=choice(8,16)",
    "federation.rounds=2",
    "hydra.sweeper.pruner.name=none",
)


def study_of(folder):
    storage = f"sqlite:///{folder}/searches.db"
    (summary,) = optuna.get_all_study_summaries(storage)
    return optuna.load_study(study_name=summary.study_name, storage=storage)


def trials_of(folder):
    return [(each.number, each.state.name, each.params, each.values) for each in study_of(folder).trials]


def wait_for_trials(folder, process, count):
    """Wait until so many trials have ended, and another one is under way."""
    for _ in range(3000):
        texts = [path.read_text() for path in folder.glob("multirun/*/*/jobs.jsonl")]
        told = [
            json.loads(line) for text in texts for line in text.splitlines(keepends=True) if line[-1] == "\n"
        ]
        ended = {each["number"] for each in told if each["state"] == "finished"}
        if len(ended) >= count and {each["number"] for each in told} - ended:
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    pytest.fail(f"no {count} trials within minutes")


def test_twenty_trials_after_ten_and_a_kill_are_one_study(tmp_path, study):
    folder = tmp_path / "work"
    folder.mkdir()
    done = sweep(folder, *SEARCH, "hydra.sweeper.n_trials=10")
    assert (done.returncode, done.stderr) == (0, "")
    assert "10 jobs: 10 finished (0 reused)" in done.stdout
    ten = trials_of(folder)
    process = start(folder, *SEARCH, "hydra.sweeper.n_trials=20")
    wait_for_trials(folder, process, 13)  # ten of the first command
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    cut_off = trials_of(folder)
    assert 10 < len(cut_off) < 20
    done = sweep(folder, *SEARCH, "hydra.sweeper.n_trials=20")
    assert (done.returncode, done.stderr) == (0, "")
    twenty = trials_of(folder)
    assert twenty[:10] == ten
    assert [each[2] for each in twenty[: len(cut_off)]] == [each[2] for each in cut_off]
    assert [(number, state) for number, state, *_ in twenty] == [(n, "COMPLETE") for n in range(20)]

    # what was tried is what a search that is never cut off would have tried
    space = dict(each.split("=", 1) for each in SEARCH[1:3])
    sampler = {"name": "tpe", "seed": 0, "startup_trials": 10}
    with study(space=space, sampler=sampler) as undisturbed:
        for number, _, params, values in twenty:
            (trial,) = undisturbed.batch(1, 20)
            assert (trial.number, trial.params) == (number, params)
            undisturbed.tell(trial, Report(number, "finished"), values)

    store = Store(folder)
    (parent,) = store.parents()
    tags = parent.data.tags
    assert (parent.info.status, tags["fedpriv_kind"]) == ("FINISHED", "search")
    assert tags["search_study"] == study_of(folder).study_name
    assert tags["search_best"] == str(study_of(folder).best_trial.number)
    members = store.members(parent)
    assert sorted(members) == list(range(20))
    for number, run in members.items():
        assert run.info.status == "FINISHED"
        assert (run.data.tags["search_number"], run.data.tags["search_state"]) == (str(number), "complete")
        _, _, params, (value,) = twenty[number]
        assert run.data.metrics["angular_error_deg"] == value
        assert float(run.data.params["training.learning_rate"]) == params["training.learning_rate"]
    files = {item.path for item in store.client.list_artifacts(parent.info.run_id)}
    assert {
        "study.md",
        "study.csv",
        "history_angular_error_deg.png",
        "importances_angular_error_deg.svg",
    } <= files

    again = sweep(folder, *SEARCH, "hydra.sweeper.n_trials=20")
    assert "20 jobs: 20 finished (20 reused)" in again.stdout
    assert trials_of(folder) == twenty


def test_a_bad_trial_is_stopped_at_an_early_round_and_shown_pruned(tmp_path):
    done = sweep(
        tmp_path,
        *SEARCH[:1],
        "training.learning_rate=choice(0.01,10.0)",
        "federation.rounds=6",
        "hydra.sweeper.n_trials=8",
        "hydra.sweeper.sampler.name=random",
        "hydra.sweeper.pruner.name=median",
        "hydra.sweeper.pruner.startup_trials=1",
    )
    assert (done.returncode, done.stderr) == (0, "")
    trials = study_of(tmp_path).trials
    states = {each.params["training.learning_rate"]: set() for each in trials}
    for each in trials:
        states[each.params["training.learning_rate"]].add(each.state.name)
    assert "COMPLETE" in states["0.01"]
    assert "PRUNED" in states["10.0"]
    assert re.search(r"8 jobs: \d finished, \d pruned", done.stdout)
    assert "| pruned: angular_error_deg" in done.stdout
    store = Store(tmp_path)
    (parent,) = store.parents()
    pruned = [run for run in store.members(parent).values() if run.data.tags["search_state"] == "pruned"]
    assert pruned
    for run in pruned:
        rounds = store.client.get_metric_history(run.info.run_id, "clients_failed")
        assert max(each.step for each in rounds) < 6
        assert run.info.status == "KILLED"
    folder = tmp_path / "downloaded"
    folder.mkdir()
    page = Path(store.client.download_artifacts(parent.info.run_id, "study.md", str(folder))).read_text()
    assert "| pruned |" in page


RATE = "training.learning_rate=tag(log,interval(1e-3,1e-1))"


def test_trials_that_failed_are_tried_again_by_the_same_command(tmp_path):
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "mlartifacts").write_text("in the way of MLflow's folder")
    command = ("hydra/sweeper=search", RATE, "hydra.sweeper.n_trials=2")
    done = sweep(folder, *command)
    assert done.returncode == 1
    assert "2 jobs: 2 failed" in done.stdout
    (folder / "mlartifacts").unlink()
    done = sweep(folder, *command)
    assert (done.returncode, done.stderr) == (0, "")
    assert "2 trials that failed are tried again" in done.stdout
    assert "2 trials, 2 complete" in done.stdout
    assert "best of 2 complete trials" in done.stdout
    trials = trials_of(folder)
    assert [state for _, state, *_ in trials] == ["FAIL", "FAIL", "COMPLETE", "COMPLETE"]
    assert [each[2] for each in trials[:2]] == [each[2] for each in trials[2:]]
    store = Store(folder)
    (parent,) = store.parents()
    assert parent.info.status == "FINISHED"
    members = store.members(parent)
    assert sorted(members) == [2, 3]
    (data_id,) = {run.data.tags["data_id"] for run in members.values()}
    assert re.fullmatch("[0-9a-f]{64}", data_id)
    done = sweep(folder, *command)
    assert (done.returncode, trials_of(folder)) == (0, trials)


def test_an_objective_that_no_run_measures_ends_the_search_after_its_first_trial(tmp_path):
    command = ("hydra/sweeper=search", RATE, "hydra.sweeper.n_trials=3")
    done = sweep(tmp_path, *command, "hydra.sweeper.objectives=[angular_eror:minimize]")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "objectives=angular_eror: was not measured in any round; name what is: angular_error_deg, " in line
    assert [state for _, state, *_ in trials_of(tmp_path)] == ["FAIL"]
    # with the right name the run is not computed again
    done = sweep(tmp_path, *command, "hydra.sweeper.objectives=[angular_error_deg:minimize]")
    assert done.returncode == 0
    assert "3 jobs: 3 finished (1 reused)" in done.stdout


def test_a_search_prunes_by_no_other_search_that_wrote_to_its_folder(tmp_path):
    command = ("hydra/sweeper=search", "hydra.sweep.dir=here", "hydra.sweeper.sampler.name=random")
    wide = "training.learning_rate=tag(log,interval(1e-4,10))"
    patient = ("hydra.sweeper.n_trials=3", "hydra.sweeper.pruner.startup_trials=9")
    assert sweep(tmp_path, *command, wide, *patient).returncode == 0
    assert (tmp_path / "here" / "search.json").exists()
    eager = ("hydra.sweeper.n_trials=4", "hydra.sweeper.pruner.startup_trials=1")
    done = sweep(tmp_path, *command, wide, *eager, "hydra.sweeper.objectives=[task,bytes]")
    assert (done.returncode, done.stderr) == (0, "")
    assert "4 trials, 4 complete" in done.stdout
    assert not (tmp_path / "here" / "search.json").exists()


def test_no_trial_is_pruned_in_the_last_of_its_own_rounds(tmp_path):
    done = sweep(
        tmp_path,
        "hydra/sweeper=search",
        "federation.rounds=choice(2,3)",
        "training.learning_rate=tag(log,interval(1e-4,10))",
        "hydra.sweeper.n_trials=8",
        "hydra.sweeper.pruner.startup_trials=1",
        "hydra.sweeper.pruner.warmup_rounds=2",
        "hydra.sweeper.sampler.name=random",
    )
    assert (done.returncode, done.stderr) == (0, "")
    states = {rounds: {} for rounds in ("2", "3")}
    for each in study_of(tmp_path).trials:
        states[each.params["federation.rounds"]][each.number] = each.state.name
    assert set(states["2"].values()) == {"COMPLETE"}
    assert "PRUNED" in states["3"].values()


def test_several_objectives_and_processes_find_a_front_and_say_what_it_cost(tmp_path):
    process = start(
        tmp_path,
        "hydra/sweeper=search",
        "hydra/launcher=joblib",
        "hydra.launcher.n_jobs=2",
        "privacy=dp_sgd",
        "privacy.epsilon=tag(log,interval(2,16))",
        "training.learning_rate=tag(log,interval(1e-3,1e-1))",
        "hydra.sweeper.objectives=[task,epsilon,bytes]",
        "hydra.sweeper.n_trials=4",
    )
    output, errors = process.communicate(timeout=300)
    assert (process.returncode, errors) == (0, "")
    assert output.count("Optuna prunes none; every trial runs to its end") == 1
    assert "arXiv 2110.03620" in output
    store = Store(tmp_path)
    (parent,) = store.parents()
    members = store.members(parent)
    assert sorted(members) == list(range(4))
    points = {}
    for number, run in members.items():
        up = sum(each.value for each in store.client.get_metric_history(run.info.run_id, "bytes_up"))
        points[number] = (run.data.metrics["angular_error_deg"], run.data.metrics["epsilon"], up)

    def beats(one, other):
        return one != other and all(a <= b for a, b in zip(one, other, strict=True))

    front = [n for n, point in points.items() if not any(beats(other, point) for other in points.values())]
    assert parent.data.tags["search_best"] == ", ".join(map(str, sorted(front)))
    assert {each.number: tuple(each.values) for each in study_of(tmp_path).trials} == points
    together = max(float(run.data.tags["lifetime_epsilon"]) for run in members.values())
    assert together > max(epsilon for _, epsilon, _ in points.values())
    said = float(re.search(r"together have spent ([\d.]+) \(fedpriv privacy show\)", output)[1])
    assert said == pytest.approx(together, rel=0.01)
    assert said >= together
