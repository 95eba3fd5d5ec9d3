"""What cannot be searched is one line, before anything is run."""

import pytest

from tests.sweeps.commands import sweep

pytestmark = pytest.mark.slow

LINES = [
    ((), "nothing to search"),
    (("training.learning_rte=interval(0,1)",), "did you mean training.learning_rate?"),
    (("seed=range(3)", "hydra.sweeper.n_trails=3"), "hydra.sweeper.n_trails: there is no such key"),
    (("seed=range(3)", "tracking=none"), "tracking=none: a search reads from MLflow"),
    (("federation.clients=range(300,400)",), "both ends of the space are refused: federation.clients=300"),
    (("seed=range(3)", "hydra.sweeper.objectives=[accuracy]"), "NAME:minimize"),
    (("federation.rounds=2,3", "hydra.sweeper.pruner.name=hyperband"), "which federation.rounds varies"),
    (("seed=range(3)", "hydra.sweeper.storage='postgresql://u:geheim@h/d'"), "storage: holds a password"),
    (("seed=range(3)", "hydra.sweeper.storage='mysql://h/d?password=geheim'"), "storage: holds a password"),
]


def test_a_mistake_is_one_line_and_leaves_no_run(tmp_path):
    for place, (overrides, said) in enumerate(LINES):
        folder = tmp_path / str(place)
        folder.mkdir()
        done = sweep(folder, "hydra/sweeper=search", *overrides)
        assert done.returncode == 2
        (line,) = done.stderr.splitlines()
        assert line.startswith("fedpriv: ")
        assert said in line
        assert "geheim" not in line
        assert not list(folder.glob("multirun"))
        assert not (folder / "mlflow.db").exists()


def test_trials_that_fail_are_failed_in_the_study_and_do_not_end_it(tmp_path):
    done = sweep(
        tmp_path, "hydra/sweeper=search", "federation.clients=choice(4,abc,400)", "hydra.sweeper.n_trials=4",
        "federation.rounds=1", "hydra.sweeper.sampler.seed=1",
    )  # fmt: skip
    assert done.returncode == 1
    assert "study search-" in done.stdout
    assert "4 jobs: " in done.stdout
    assert "failed" in done.stdout
    assert all(line.startswith("fedpriv: job ") for line in done.stderr.splitlines())
    assert "federation.clients" in done.stderr
