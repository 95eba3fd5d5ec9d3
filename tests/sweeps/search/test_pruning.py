"""A trial that is not worth going on with is ended from within its job, and nothing else is."""

import logging

import pytest
from omegaconf import OmegaConf

from fedpriv.results import RoundResult
from fedpriv.sweeps.job import Pruned
from fedpriv.sweeps.record import SweepRecord
from fedpriv.sweeps.reports import Report
from fedpriv.sweeps.search import pruning
from fedpriv.sweeps.search.pruning import NAME, SearchRecord, watcher
from tests.sweeps.search.conftest import PLAIN

CURVES = [[9, 5, 4, 3, 2], [9, 6, 5, 4, 3]]
"""Error by round, of the trials before, from round 1."""


@pytest.fixture
def job(tmp_path, location, study):
    """Give a function that runs a job of the third trial: after how many rounds it was ended, and why."""
    pruning._storage.cache_clear()

    def run(curve, metric="error", rounds=5, record=True, parent="parent", **settings):
        with study(**settings) as search:
            for number, curve_before in enumerate(CURVES):
                (trial,) = search.batch(1, 3)
                for step, value in enumerate(curve_before, 1):
                    trial.handle.report(value, step)
                search.tell(trial, Report(number, "finished"), [curve_before[-1]])
            (trial,) = search.batch(1, 3)
            if record:
                SearchRecord(location.uri, search.name, "error", 5, "parent").write(tmp_path)
            SweepRecord(parent, None, "e", 1, None, {}).write(tmp_path)
            sweeper = {**PLAIN, **settings, "_target_": NAME}
            heard = watcher(hydra_settings(tmp_path, sweeper, trial.number), rounds)
            if heard is None:
                return None
            try:
                for number, value in enumerate([99.0, *curve]):
                    heard(RoundResult(number, {metric: value}))
            except Pruned as error:
                return number, str(error), trial.handle
            return number, None, trial.handle

    yield run
    pruning._storage.cache_clear()


def hydra_settings(folder, sweeper, number=0):
    return OmegaConf.create(
        {
            "sweeper": sweeper,
            "runtime": {"cwd": str(folder)},
            "sweep": {"dir": "."},
            "job": {"num": number},
        }
    )


def test_the_best_round_so_far_counts(job):
    number, why, _ = job([3.4, 20, 20, 20, 20])
    assert (number, why) == (5, None)


def test_a_bad_trial_is_ended_early_and_says_where(job):
    number, why, handle = job([8, 20, 20, 20, 20])
    assert number == 2
    assert why == "error 20 at round 2 of 5 (median)"
    assert handle.study.trials[2].intermediate_values == {1: 8.0, 2: 20.0}


def test_round_0_is_before_training_and_ends_nothing(job):
    number, _, handle = job([1, 1, 1, 1, 1])
    assert number == 5
    assert 0 not in handle.study.trials[2].intermediate_values


def test_the_last_round_ends_nothing_for_there_is_nothing_to_save(job):
    assert job([20], rounds=1)[:2] == (1, None)


def test_the_last_round_is_the_jobs_own_where_rounds_are_searched(job):
    assert job([8, 20], rounds=2)[:2] == (2, None)
    assert job([8, 20, 20], rounds=3, study_name="longer")[:2] == (2, "error 20 at round 2 of 3 (median)")


def test_a_warm_up_is_let_pass(job):
    patient = {**PLAIN["pruner"], "warmup_rounds": 3}
    assert job([20, 20, 20, 20, 20], pruner=patient)[0] == 3


def test_a_run_that_does_not_measure_the_metric_goes_on(job):
    assert job([20, 20, 20, 20, 20], metric="another")[:2] == (5, None)


def test_without_a_pruner_or_with_several_objectives_nobody_listens(job):
    assert job([20], record=False) is None


def test_what_another_search_has_left_in_the_folder_prunes_nothing(job, caplog):
    with caplog.at_level(logging.WARNING):
        assert job([20], parent="another") is None
    assert "is of another search: this trial is not pruned" in caplog.text


def test_a_record_is_removed_whether_there_is_one_or_not(tmp_path):
    SearchRecord("sqlite:///s.db", "s", "error", 5, "p").write(tmp_path)
    for _ in range(2):
        SearchRecord.remove(tmp_path)
        assert not list(tmp_path.iterdir())


def test_a_sweep_that_is_no_search_has_no_watcher(tmp_path):
    grid = {"_target_": "hydra._internal.core_plugins.basic_sweeper.BasicSweeper"}
    assert watcher(hydra_settings(tmp_path, grid), 5) is None


def test_a_study_that_does_not_answer_ends_nothing_and_is_said(tmp_path, caplog):
    SearchRecord(f"sqlite:///{tmp_path}/nowhere/searches.db", "s", "error", 5, "p").write(tmp_path)
    SweepRecord("p", None, "e", 1, None, {}).write(tmp_path)
    heard = watcher(hydra_settings(tmp_path, {**PLAIN, "_target_": NAME}), 5)
    with caplog.at_level(logging.WARNING):
        heard(RoundResult(1, {"error": 20.0}))
    assert "the study does not answer" in caplog.text
    assert "this trial goes on" in caplog.text


@pytest.mark.parametrize("text", ["", "[]", '{"storage": 1}', "{"])
def test_a_damaged_record_ends_nothing_and_is_said(tmp_path, caplog, text):
    (tmp_path / "search.json").write_text(text)
    with caplog.at_level(logging.WARNING):
        assert watcher(hydra_settings(tmp_path, {**PLAIN, "_target_": NAME}), 5) is None
    assert "this trial is not pruned" in caplog.text


def test_the_record_is_its_owners_alone(tmp_path):
    SearchRecord("postgresql://host/db", "s", "error", 5, "p").write(tmp_path)
    assert (tmp_path / "search.json").stat().st_mode & 0o077 == 0
