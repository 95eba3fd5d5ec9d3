"""Which finished run is taken for a job."""

from types import SimpleNamespace

from fedpriv.sweeps.reuse import chosen, finished, said_of_code


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
    assert said.startswith("2 jobs are reused from earlier code (aaaaaaaa, bbbbbbbb; now bbbbbbbb); for new")
    assert said_of_code([run(commit=f"{now}-dirty")], f"{now}-dirty") is not None  # nobody knows how dirty


def test_choices_are_of_groups_that_the_command_names():
    groups = {"secure": "bfv", "privacy": "none", "experiment": "mine", "strategy": None}
    overrides = ["secure=bfv", "+experiment=mine", "privacy.epsilon=3", "seed=0", "~strategy"]
    assert chosen(overrides, groups) == {"secure": "bfv", "experiment": "mine"}
