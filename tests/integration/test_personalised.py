"""Runs whose clients make the final model their own: what MLflow, the terminal and a resumption say of it."""

import io

import pytest
from mlflow import MlflowClient
from rich.console import Console

from fedpriv.checkpoint import Checkpoint
from fedpriv.config.compose import compose_run
from fedpriv.runner import resume, run
from tests.conftest import TINY

PERSONAL = (*TINY, "evaluation.personalise.enabled=true", "evaluation.personalise.epochs=1")


@pytest.mark.parametrize("mode", ["federated", "local"])
def test_mlflow_and_the_terminal_have_what_clients_found(tmp_path, database, mode):
    uri = database(tmp_path / "mlflow.db")
    tracked = ("tracking=mlflow", f"tracking.uri={uri}", "tracking.log_model=true", "evaluation.pictures=2")
    screen = io.StringIO()
    report = run(
        compose_run(*PERSONAL, *tracked, f"mode={mode}"), console=Console(file=screen, width=200, _environ={})
    )
    client = MlflowClient(uri)
    found = client.get_run(report.mlflow_run_id)
    names = {f"personal_{when}_{what}" for when in ("before", "after") for what in report.history[0].metrics}
    names = {name for name in names if not name.endswith(("_min", "_max", "_std"))} | {"personal_improved"}
    assert report.personal.keys() == names
    assert {name: found.data.metrics[name] for name in names} == report.personal
    assert found.data.params["evaluation.personalise.epochs"] == "1.0"
    assert found.data.tags["mode"] == mode
    assert "on clients' own people" in screen.getvalue()
    assert f"{report.personal['personal_after_angular_error_deg']:.3g}"[:3] in screen.getvalue()
    # of clients that train alone there is no model to hand on
    artifacts = {item.path for item in client.list_artifacts(report.mlflow_run_id, "pictures")}
    assert ("pictures/predictions.png" in artifacts) == (mode == "federated")
    assert bool(found.outputs.model_outputs) == (mode == "federated")


def test_a_run_without_it_is_recorded_without_its_settings(tmp_path, database):
    uri = database(tmp_path / "mlflow.db")
    report = run(compose_run(*TINY, "federation.rounds=1", "tracking=mlflow", f"tracking.uri={uri}"))
    params = MlflowClient(uri).get_run(report.mlflow_run_id).data.params
    assert not [name for name in params if "personalise" in name]


@pytest.mark.parametrize("mode", ["federated", "local"])
def test_a_run_cut_off_after_its_last_round_finds_the_same(tmp_path, monkeypatch, mode):
    config = compose_run(*PERSONAL, f"mode={mode}")
    whole = run(config)

    def end(self, record):
        raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoint, "finish", end)
    with pytest.raises(KeyboardInterrupt):
        run(config, output_dir=tmp_path)
    monkeypatch.undo()
    resumed = resume(tmp_path)
    assert resumed.personal == whole.personal
    assert resumed.parameters.tobytes() == whole.parameters.tobytes()
