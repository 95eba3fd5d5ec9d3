"""Which finished run is taken for a job."""

from types import SimpleNamespace

import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric

from fedpriv.sweeps.reuse import chosen, finished, of_run, said_jobs, said_of_code
from fedpriv.tracking.sweeps import SweepRuns


def run(status="FINISHED", log_model="true", mode="federated", commit="a" * 40):
    params = {"tracking.log_model": log_model, "mode": mode}
    return SimpleNamespace(status=status, params=params, tags={"git_commit": commit})


def asks(log_model):
    return SimpleNamespace(log_model=log_model)


def test_a_finished_run_is_taken_if_it_keeps_what_is_asked_for():
    without, with_one = run(log_model="false"), run()
    assert finished([without, with_one], asks(False)) is without
    assert finished([without, with_one], asks(True)) is with_one
    assert finished([without], asks(True)) is None
    assert finished([run("FAILED"), run("RUNNING")], asks(False)) is None
    alone = run(log_model="false", mode="local")  # which has no model but its clients' own
    assert finished([alone], asks(True)) is alone


def test_runs_of_other_code_are_said_and_those_of_this_code_are_not():
    now = "b" * 40
    assert said_of_code([], now) is None
    assert said_of_code([run(commit=now)], now) is None
    said = said_of_code([run(commit=now), run()], now)
    assert said.startswith("2 jobs reused from earlier code (aaaaaaaa, bbbbbbbb; now bbbbbbbb); for new")
    assert said_of_code([run(commit=f"{now}-dirty")], f"{now}-dirty") is not None  # nobody knows how dirty


def test_jobs_are_counted_in_words():
    assert [said_jobs(count) for count in (0, 1, 2)] == ["0 jobs", "1 job", "2 jobs"]


@pytest.mark.parametrize(("errors", "value"), [([9.0, 8.0], 8.0), ([9.0, None], None), ([None, None], None)])
def test_a_value_that_is_not_of_the_last_round_is_none(tmp_path, database, errors, value):
    """The store keeps the last finite one: that of a run come to NaN since is of an earlier one."""
    runs = SweepRuns.open(database(tmp_path / "mlflow.db"), "e")
    client = MlflowClient(runs.location.uri)
    experiment = client.get_experiment_by_name("e").experiment_id
    run_id = client.create_run(experiment, tags={"metric": "error", "epsilon": "3"}).info.run_id
    for step, error in enumerate(errors):
        logged = {"clients_failed": 0.0} | ({} if error is None else {"error": error})
        client.log_batch(run_id, [Metric(name, each, 0, step) for name, each in logged.items()])
    report = of_run(runs, 7, runs.run(run_id))
    assert (report.number, report.metric, report.value) == (7, "error", value)
    assert (report.epsilon, report.run_id) == ("3", run_id)


def test_choices_are_of_groups_that_the_command_names():
    groups = {"secure": "bfv", "privacy": "none", "experiment": "mine", "strategy": None}
    overrides = ["secure=bfv", "+experiment=mine", "privacy.epsilon=3", "seed=0", "~strategy"]
    assert chosen(overrides, groups) == {"secure": "bfv", "experiment": "mine"}
