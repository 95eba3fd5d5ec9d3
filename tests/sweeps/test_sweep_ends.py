"""How a sweep ends whose store is gone: its jobs are done, its exit status is 1, and one line says it."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from fedpriv.sweeps.keys import job_key
from fedpriv.sweeps.sweep import Sweep


@pytest.fixture
def begun(tmp_path, database, tiny):
    """A sweep of one job that is under way."""
    uri = database(tmp_path / "mlflow.db")
    config = tiny("tracking=mlflow", f"tracking.uri={uri}")
    settings = {
        "runtime": {"cwd": str(tmp_path)},
        "sweep": {"dir": "sweep"},
        "launcher": {"_target_": "hydra._internal.core_plugins.basic_launcher.BasicLauncher"},
        "overrides": {"hydra": [], "task": ["seed=0"]},
    }
    whole = OmegaConf.merge(OmegaConf.create({"hydra": settings}), {"tracking": config.tracking})
    sweep = Sweep(whole, "sweep", "f" * 32, "sweep", {0: job_key(config)}, {0: ("seed=0",)})
    sweep.launch()
    yield sweep
    sweep._stop()


def lose(folder: Path) -> None:
    """Let the store be none any more."""
    for path in folder.glob("mlflow.db*"):
        path.write_bytes(b"no database" * 1000)


def test_a_store_that_is_lost_during_the_sweep_is_said_at_its_end(tmp_path, begun, capsys):
    lose(tmp_path)
    assert begun.end() == 1
    job, store = capsys.readouterr().err.splitlines()
    assert job == "fedpriv: job 0 (seed=0) failed: ended without a word; see its run.log"
    assert store.startswith(
        f"fedpriv: sweep is not closed in MLflow: tracking.uri=sqlite:///{tmp_path}/mlflow.db"
    )


def test_a_store_that_is_lost_is_said_when_the_sweep_is_interrupted_too(tmp_path, begun, capsys):
    lose(tmp_path)
    begun.interrupt(KeyboardInterrupt())
    store, end = capsys.readouterr().err.splitlines()
    assert begun.status == 130
    assert store.startswith("fedpriv: sweep is not closed in MLflow: ")
    assert end.startswith("fedpriv: sweep interrupted; 0 of 1 jobs are done")


def test_a_folder_of_artifacts_that_takes_nothing_is_said_in_one_line(tmp_path, begun, capsys):
    (tmp_path / "mlartifacts").write_text("a file is in the way")
    assert begun.end() == 1
    assert "fedpriv: sweep is not closed in MLflow: " in capsys.readouterr().err.splitlines()[-1]
