import logging
import os
import subprocess
import sys
import tempfile
import warnings
import zipfile
from pathlib import Path

import mlflow
import numpy as np
import pytest
import torch
from mlflow.artifacts import download_artifacts
from mlflow.entities import FileInfo
from mlflow.models import Model
from torch import nn

from fedpriv.errors import UserError
from fedpriv.tracking import model_loading
from fedpriv.tracking.model_artifact import try_model
from fedpriv.tracking.model_loading import load_model

STATEMENT = {"epsilon": 2.5, "delta": 1e-5, "unit": "sample", "data": "synthetic_eyes"}
SENTINEL = 37.15625


def _network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, stride=2),
        nn.GroupNorm(2, 4),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(0.5),
        nn.Linear(4, 2),
    )


@pytest.fixture(scope="module")
def logged(tracking_uri, tmp_path_factory):
    from fedpriv.tracking.mlflow_logger import RunLogger

    network = _network().train()
    before = (logging.root.level, list(logging.root.handlers), list(warnings.filters))
    with RunLogger.start(tracking_uri, "models", None, None, {}, 0) as run:
        model_id = run.log_model(network, np.full((1, 1, 12, 20), SENTINEL, np.float32), STATEMENT)
    assert (logging.root.level, list(logging.root.handlers), list(warnings.filters)) == before
    return network, run.run_id, model_id


def _download(client, model_id, folder):
    location = client.get_logged_model(model_id).artifact_location
    return Path(download_artifacts(artifact_uri=location, dst_path=str(folder)))


def _expected(network, images):
    mode = network.training
    with torch.no_grad():
        outputs = network.eval()(images)
    network.train(mode)
    return outputs


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_weights_and_program_predict_as_the_trained_model_for_any_batch_size(
    logged, tracking_uri, client, tmp_path, batch
):
    network, run_id, model_id = logged
    images = torch.randn(batch, 1, 12, 20, generator=torch.Generator().manual_seed(batch))
    again = _network()
    again.load_state_dict(load_model(tracking_uri, run_id).weights)
    assert torch.equal(_expected(again, images), _expected(network, images))
    program = mlflow.pytorch.load_model(str(_download(client, model_id, tmp_path)))
    with torch.no_grad():
        assert torch.equal(program(images), _expected(network, images))


def test_weights_and_statement_come_back(logged, tracking_uri):
    network, run_id, _ = logged
    loaded = load_model(tracking_uri, run_id)
    assert loaded.statement == STATEMENT
    assert (loaded.in_shape, loaded.out_shape) == ((1, 12, 20), (2,))
    assert {name: value.tolist() for name, value in loaded.weights.items()} == {
        name: value.tolist() for name, value in network.state_dict().items()
    }
    _network().load_state_dict(loaded.weights)


def test_global_tracking_address_and_working_folder_stay_untouched(
    start, tracking_uri, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    before = mlflow.get_tracking_uri()
    with start() as run:
        run.log_model(_network(), np.zeros((1, 1, 12, 20), np.float32), STATEMENT)
    load_model(tracking_uri, run.run_id)
    assert mlflow.get_tracking_uri() == before
    assert list(tmp_path.iterdir()) == []


def test_logging_leaves_the_model_as_it_was(logged):
    network = logged[0]
    assert network.training
    assert all(module.training for module in network.modules())


def test_signature_and_requirements_are_those_of_the_model(logged, client, tmp_path):
    local = _download(client, logged[2], tmp_path)
    model = Model.load(str(local))
    assert model.metadata == STATEMENT
    assert model.get_input_schema().inputs[0].shape == (-1, 1, 12, 20)
    assert model.get_input_schema().numpy_types() == [np.dtype("float32")]
    assert model.get_output_schema().inputs[0].shape == (-1, 2)
    assert f"torch=={torch.__version__.split('+')[0]}" in (local / "requirements.txt").read_text()
    assert client.get_logged_model(logged[2]).status == "READY"


def _contents(local):
    contents = []
    for path in local.rglob("*"):
        if path.is_file():
            contents.append(path.read_bytes())
        if path.suffix == ".pt2":
            with zipfile.ZipFile(path) as archive:
                contents += [archive.read(name) for name in archive.namelist()]
    assert len(contents) > 10
    return contents


def test_no_folder_of_the_training_machine_travels_with_the_model(logged, client, tmp_path):
    contents = _contents(_download(client, logged[2], tmp_path))
    for folder in (Path(torch.__file__).parent, Path(__file__).parent):
        assert not any(str(folder).encode() in content for content in contents)


def test_nothing_of_the_example_image_travels_with_the_model(logged, client, tmp_path):
    contents = _contents(_download(client, logged[2], tmp_path))
    needle = np.full(4, SENTINEL, np.float32).tobytes()
    assert not any(needle in content or str(SENTINEL).encode() in content for content in contents)


def test_stored_program_passes_mlflows_check_for_pickle(logged, client, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    mlflow.pytorch.load_model(str(_download(client, logged[2], tmp_path)))


def test_example_without_a_batch_is_refused(start):
    with start() as run, pytest.raises(ValueError, match="need a batch"):
        run.log_model(_network(), np.float32(1.0).reshape(()), STATEMENT)


class Branches(nn.Module):
    def forward(self, inputs):
        return inputs if inputs.sum().item() > 0 else -inputs


def test_a_model_that_cannot_be_exported_is_refused_before_it_is_trained():
    with pytest.raises(
        UserError, match=r"tracking\.log_model: Branches cannot be exported .*log_model=false"
    ):
        try_model(Branches(), np.zeros((2, 3), np.float32))


def test_a_model_that_is_tried_is_left_as_it_was(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    model = _network().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    drawn = torch.get_rng_state()
    try_model(model, np.full((1, 1, 12, 20), SENTINEL, np.float32))
    assert torch.equal(torch.get_rng_state(), drawn)
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert list(tmp_path.iterdir()) == []


def test_model_that_cannot_be_exported_is_marked_failed(start, client):
    with start() as run, pytest.raises(Exception, match=r"[Dd]ata-dependent"):
        run.log_model(Branches(), np.zeros((2, 3), np.float32), {})
    experiment = client.get_run(run.run_id).info.experiment_id
    statuses = [
        model.status
        for model in client.search_logged_models([experiment])
        if model.source_run_id == run.run_id
    ]
    assert statuses == ["FAILED"]


def test_run_without_a_model_is_the_users_error(start, tracking_uri):
    with start() as run:
        pass
    with pytest.raises(UserError, match="has no model"):
        load_model(tracking_uri, run.run_id)


@pytest.mark.parametrize(("is_dir", "size"), [(True, None), (False, None), (False, 2**31)])
def test_a_file_of_unknown_or_too_large_size_is_not_fetched(logged, tracking_uri, monkeypatch, is_dir, size):
    listed = [FileInfo("MLmodel", is_dir, size)]
    monkeypatch.setattr(model_loading, "list_artifacts", lambda **_: listed)
    fetched = []
    monkeypatch.setattr(model_loading, "download_artifacts", lambda **named: fetched.append(named))
    with pytest.raises(UserError, match="MLmodel of its model is missing, damaged or not what was logged"):
        load_model(tracking_uri, logged[1])
    assert not fetched


def test_unknown_run_is_the_users_error(tracking_uri):
    with pytest.raises(UserError, match=r"run_id=0123.*not found"):
        load_model(tracking_uri, "0123")


def test_missing_database_is_the_users_error_and_is_not_created(tmp_path):
    with pytest.raises(UserError, match="no such database"):
        load_model(f"sqlite:///{tmp_path}/none.db", "0123")
    assert not list(tmp_path.iterdir())


_FRESH = """
import sys, mlflow, torch
mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pytorch.load_model(f"runs:/{sys.argv[2]}/model")
print(model(torch.ones(3, 1, 12, 20)).tolist())
assert "fedpriv" not in sys.modules
"""


@pytest.mark.slow
def test_fresh_process_loads_the_model_with_mlflow_alone_and_without_network(logged, tracking_uri, tmp_path):
    network, run_id, _ = logged
    nowhere = "http://127.0.0.1:9"
    answer = subprocess.run(
        [sys.executable, "-c", _FRESH, tracking_uri, run_id],
        cwd=tmp_path,
        env={
            **os.environ,
            "PYTHONPATH": "",
            "http_proxy": nowhere,
            "https_proxy": nowhere,
            "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",  # on stderr, where tqdm is installed
        },
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert answer.returncode == 0, answer.stderr
    assert answer.stderr == ""
    np.testing.assert_allclose(
        np.array(eval(answer.stdout)),  # noqa: S307
        _expected(network, torch.ones(3, 1, 12, 20)).numpy(),
        rtol=1e-5,
    )


class _Harm(nn.Module):
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        super().__init__()
        self.path = path

    def forward(self, inputs):
        return inputs

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_guarantee_a_pickled_model_is_refused_and_not_executed(start, client, tracking_uri, tmp_path):
    from mlflow.entities import LoggedModelOutput

    from fedpriv.tracking.quiet import mlflow_pytorch, quiet_mlflow

    with start() as run, quiet_mlflow():
        model = client.create_logged_model(
            client.get_run(run.run_id).info.experiment_id, name="model", source_run_id=run.run_id
        )
        mlflow_pytorch().save_model(
            _Harm(tmp_path / "harm"),
            str(tmp_path / "model"),
            serialization_format="pickle",
            pip_requirements=["torch"],
        )
        client.log_model_artifacts(model.model_id, str(tmp_path / "model"))
        client.finalize_logged_model(model.model_id, "READY")
        client.log_outputs(run.run_id, [LoggedModelOutput(model.model_id, 0)])
    with pytest.raises(
        UserError, match=r"its model was logged by an earlier fedpriv or by another program, and is not exec"
    ):
        load_model(tracking_uri, run.run_id)
    assert not (tmp_path / "harm").exists()
    torch.load(tmp_path / "model" / "data" / "model.pth", weights_only=False)
    assert (tmp_path / "harm").exists(), "the model would have done harm"
