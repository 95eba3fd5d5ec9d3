"""What a search reads from the runs of its trials, and what it says in the end."""

import csv
import math
import re
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric

from fedpriv.sweeps.reports import Report
from fedpriv.sweeps.search.objectives import Lacking, Objective, Unmeasured, read_objectives, values_of
from fedpriv.sweeps.search.plots import plots_of
from fedpriv.sweeps.search.result import conclude, rows
from fedpriv.tasks.base import MetricSpec
from fedpriv.tracking.sweeps import Member, SweepRuns
from tests.sweeps.search.conftest import ERROR

SPEC = MetricSpec("error", "error (deg)", lower_is_better=True)
SEVERAL_SEEDS = {"name": "random", "seed": 0, "startup_trials": 4}
GAIN = Objective("gain", "gain", lower_is_better=False)


@pytest.fixture
def runs(tmp_path, database):
    return SweepRuns.open(database(tmp_path / "mlflow.db"), "e")


@pytest.fixture
def client(runs):
    return MlflowClient(runs.location.uri)


def logged(runs, client, history, tags=None):
    """Log a finished run of rounds, and return it."""
    experiment = client.get_experiment_by_name("e").experiment_id
    run_id = client.create_run(experiment, tags={"metric": "error", **(tags or {})}).info.run_id
    for step, metrics in enumerate(history):
        named = {"clients_failed": 0.0, **metrics}
        client.log_batch(run_id, [Metric(name, value, 0, step) for name, value in named.items()])
    client.set_terminated(run_id, "FINISHED")
    return runs.run(run_id)


def test_objectives_are_of_the_last_round_and_costs_of_the_whole_run(runs, client):
    rounds = [
        {"error": 9.0, "loss": 3.0, "bytes_up": 0.0, "seconds_train": 0.5},
        {"error": 8.0, "loss": 2.0, "bytes_up": 100.0, "clients_replied": 2.0, "seconds_train": 1.0},
        {"error": 7.5, "loss": 1.0, "bytes_up": 50.0, "clients_replied": 1.0, "seconds_train": 2.0},
    ]
    run = logged(runs, client, rounds, {"privacy_unit": "sample", "epsilon": "3.25"})
    wanted = read_objectives(["task", "epsilon", "bytes", "seconds", "loss:minimize"], SPEC)
    assert values_of(wanted, runs.location.uri, run) == [7.5, 3.25, 150.0, 3.5, 1.0]


def test_an_epsilon_that_nothing_bounds_is_infinite(runs, client):
    wanted = read_objectives(["epsilon"], SPEC)
    for tags in ({"privacy_unit": "sample", "epsilon": "inf"}, {"privacy_unit": "none"}):
        run = logged(runs, client, [{}, {"error": 1.0}], tags)
        assert values_of(wanted, runs.location.uri, run) == [math.inf]


@pytest.mark.parametrize(
    ("objective", "history", "said"),
    [
        ("task", [{"error": 9.0}, {}], "error is of round 0 of 1: not finite"),
        ("loss:minimize", [{"loss": 1.0}, {"error": 9.0}], "loss is of round 0 of 1: not finite"),
    ],
)
def test_a_run_that_lacks_an_objective_in_the_end_says_which(runs, client, objective, history, said):
    run = logged(runs, client, history)
    with pytest.raises(Lacking, match=said) as caught:
        values_of(read_objectives([objective], SPEC), runs.location.uri, run)
    assert type(caught.value) is Lacking


@pytest.mark.parametrize(("objective", "name"), [("gain:maximize", "gain"), ("bytes", "bytes")])
def test_what_a_run_has_never_measured_is_named_with_what_it_has(runs, client, objective, name):
    run = logged(runs, client, [{"error": 9.0}, {}])
    said = rf"objectives={name}: was not measured in any round; name what is: clients_failed, error$"
    with pytest.raises(Unmeasured, match=said):
        values_of(read_objectives([objective], SPEC), runs.location.uri, run)


def searched(study, runs, tmp_path, values, objectives, tags=None):
    """Make a study with a parent in MLflow, and runs for its trials; return what it concludes."""
    parent = runs.parent("search", "ab" * 16, "s", [], None)
    with study(objectives=objectives) as search:
        for value in values:
            (trial,) = search.batch(1, len(values))
            member = Member(parent, trial.number, f"{trial.number:032x}")
            run_id = runs.refused(member, "job", "", {}, [], tmp_path)
            for name, text in (tags or {}).items():
                runs.tag(run_id, name, text)
            if value is None:
                report = Report(trial.number, "pruned", run_id=run_id, reason="Pruned: at round 1")
                trial.handle.report(50.0, 1)
                search.tell(trial, report)
            else:
                search.tell(trial, Report(trial.number, "finished", run_id=run_id), value)
        storage = "postgresql://me:word@host/db"
        return conclude(search, runs, parent, storage, ["+experiment=x"]), search, runs.run(parent)


def files_of(client, run_id, tmp_path):
    folder = tmp_path / "downloaded"
    folder.mkdir()
    return Path(client.download_artifacts(run_id, "", str(folder)))


def test_the_best_trial_is_told_with_how_to_run_it_again(study, runs, client, tmp_path):
    values = [[9.0], [4.0], None, [6.0], [7.0], [8.0], [5.0], [5.5], [6.5], None]
    found, search, parent = searched(study, runs, tmp_path, values, [ERROR])
    assert (
        found.heading
        == f"study {search.name} in postgresql://<hidden>@host/db: 10 trials, 8 complete, 2 pruned"
    )
    assert [row["trial"] for row in found.best] == ["1"]
    (note,) = found.notes
    settings = search.space.settings(search.best[0].params)
    assert f"fedpriv run +experiment=x {' '.join(settings)} seed=1" in note
    assert note.count("seed=") == 1
    assert note.startswith("best of 8 complete trials")  # two were pruned
    assert (parent.tags["search_best"], parent.tags["search_objectives"]) == ("1", "error:minimize")
    assert "word" not in "".join(parent.tags.values())
    folder = files_of(client, parent.run_id, tmp_path)
    assert {path.name for path in folder.iterdir()} == {
        "study.md",
        "study.csv",
        "history_error.png",
        "history_error.svg",
        "importances_error.png",
        "importances_error.svg",
    }
    rows = list(csv.DictReader((folder / "study.csv").read_text().splitlines()))
    assert [row["error"] for row in rows] == [f"{value[0]:.6g}" if value else "" for value in values]
    assert [row["state"] for row in rows].count("pruned") == 2
    page = (folder / "study.md").read_text()
    assert "word" not in page
    assert "## Best trial" in page
    assert page.count("| pruned |") == 2
    assert (folder / "history_error.png").read_bytes().startswith(b"\x89PNG")


def test_the_hint_has_one_seed_and_no_trial_had_it(study, runs, tmp_path):
    parent = runs.parent("search", "cd" * 16, "s", [], None)
    with study(space={"seed": "choice(1, 2, 4)"}, n_trials=4, sampler=SEVERAL_SEEDS) as search:
        for _ in range(4):
            (trial,) = search.batch(1, 4)
            search.tell(trial, Report(trial.number, "finished"), [float(trial.number)])
        tried = {each.params["seed"] for each in search.ended}
        fresh = min({"1", "2", "3"} - tried)
        (note,) = conclude(search, runs, parent, "sqlite:///a.db", ["+experiment=x"]).notes
    assert f"fedpriv run +experiment=x seed={fresh}" in note
    assert note.count("seed=") == 1


def test_a_front_is_told_with_what_its_trials_cost_together(study, runs, client, tmp_path):
    values = [[9.0, 1.0], [4.0, 0.5], [8.0, 9.0], [4.0, 0.25]]
    tags = {"privacy_unit": "sample", "lifetime_epsilon": "12.3456"}
    found, _, parent = searched(study, runs, tmp_path, values, [ERROR, GAIN], tags)
    assert [row["trial"] for row in found.best] == ["1", "2"]
    assert parent.tags["search_best"] == "1, 2"
    chosen, privacy = found.notes
    assert "2 trials are on the Pareto front of error, gain" in chosen
    assert "4 private trials" in privacy
    assert "spent 12.4 (fedpriv privacy show)" in privacy  # rounded up
    assert "arXiv 2110.03620" in privacy
    folder = files_of(client, parent.run_id, tmp_path)
    assert (folder / "front_error_gain.svg").read_text().count("<svg") == 1
    assert re.search(r"front_error_gain\.png.*: the 2 of 4 trials", (folder / "study.md").read_text())


def test_runs_that_no_ledger_counted_are_said_to_be_so(study, runs, tmp_path):
    found, *_ = searched(study, runs, tmp_path, [[1.0]], [ERROR], {"privacy_unit": "client"})
    assert "not counted for all of them (privacy.ledger)" in found.notes[1]


def test_a_study_without_a_complete_trial_says_so(study, runs, tmp_path):
    found, _, parent = searched(study, runs, tmp_path, [None, None], [ERROR])
    assert found.notes == ("no trial is complete: nothing is known of the best settings",)
    assert (found.best, parent.tags["search_best"]) == ([], "none")


EPSILON = Objective("epsilon", "epsilon spent", lower_is_better=True)


def test_an_epsilon_that_is_searched_for_is_rounded_up(study):
    with study(objectives=(ERROR, EPSILON)) as search:
        (trial,) = search.batch(1, 1)
        search.tell(trial, Report(0, "finished"), [2.9999944, 2.9999944])
        (row,) = rows(search, search.ended)
    assert (row["error"], row["epsilon"]) == ("2.99999", "3")


def test_runs_in_another_experiment_are_among_those_that_a_search_has_cost(study, runs, client, tmp_path):
    tags = {"privacy_unit": "sample", "lifetime_epsilon": "7"}
    elsewhere = client.create_run(client.create_experiment("other"), tags=tags).info.run_id
    parent = runs.parent("search", "cd" * 16, "s", [], None)
    with study(objectives=(ERROR,)) as search:
        reports = [
            Report(0, "finished", run_id=elsewhere, epsilon="2"),
            Report(1, "failed", run_id="f" * 32, epsilon="2"),  # of a store that is gone
            Report(2, "finished"),
        ]
        for report in reports:
            (trial,) = search.batch(1, 3)
            search.tell(trial, report, None if report.state == "failed" else [1.0])
        found = conclude(search, runs, parent, "sqlite:///s.db", [])
    assert "2 private trials were trained" in found.notes[1]
    assert "not counted for all of them" in found.notes[1]


def test_plots_and_page_say_in_words_which_way_is_better(study, runs, client, tmp_path):
    long = Objective("seconds", "wall seconds of all rounds and then some", lower_is_better=True)
    values = [[9.0, 1.0], [4.0, 0.5]]
    _, search, parent = searched(study, runs, tmp_path, values, [long, GAIN])
    drawn = {plot.name: plot.figure.axes[0] for plot in plots_of(search)}
    front = drawn["front_seconds_gain"]
    assert (front.get_xlabel(), front.get_ylabel()[-17:]) == ("gain, higher is better", ", lower is better")
    assert drawn["history_gain"].get_ylabel() == "gain, higher is better"
    page = (files_of(client, parent.run_id, tmp_path) / "study.md").read_text()
    assert f"Objectives: {long.label}, lower is better; gain, higher is better." in page
    assert "gain, higher is better. 0 failed trials" in page


def test_plots_say_how_many_infinite_values_they_leave_out(study):
    with study(objectives=(EPSILON, ERROR)) as search:
        for value in (1.0, math.inf, 3.0):
            (trial,) = search.batch(1, 3)
            search.tell(trial, Report(trial.number, "finished"), [value, 2.0])
        captions = {plot.name: plot.caption for plot in plots_of(search)}
    for name in ("history_epsilon", "front_epsilon_error"):
        assert captions[name].endswith("1 with an infinite value is not drawn.")
    assert "infinite" not in captions["history_error"]
