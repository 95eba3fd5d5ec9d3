import json
import shutil

import numpy as np
import pytest
import torch

from fedpriv.checkpoint import Checkpoint
from fedpriv.config.as_json import to_json
from fedpriv.config.compose import compose_run
from fedpriv.config.datasets import build_data
from fedpriv.errors import UserError
from fedpriv.models.gaze_cnn import GazeCNN
from fedpriv.runner import run
from fedpriv.serving.export import main as export
from fedpriv.serving.loading import load_model, rebuilt
from fedpriv.serving.model_set import ModelSet
from fedpriv.serving.models import Origin
from fedpriv.serving.scores import score_answers
from fedpriv.tasks.gaze import GazeTask
from tests.config.small import SMALL
from tests.conftest import TINY
from tests.serving.conftest import SETTINGS, noise


@pytest.fixture(scope="module")
def trained(tmp_path_factory, database):
    """A private gaze run: (its configuration, report, MLflow store, output folder)."""
    folder = tmp_path_factory.mktemp("trained")
    uri = database(folder / "mlflow.db")
    tracked = ("tracking=mlflow", f"tracking.uri={uri}", "evaluation.pictures=0", "tracking.register=eyes")
    config = compose_run(*TINY, "privacy=dp_sgd", *tracked)
    return config, run(config, output_dir=folder / "out"), uri, folder / "out"


@pytest.fixture(scope="module")
def ways(trained, tmp_path_factory):
    """The same model out of the folder, out of MLflow, and out of a file exported from each."""
    _, report, uri, folder = trained
    files = [tmp_path_factory.mktemp("files") / f"{name}.npz" for name in ("one", "two")]
    export([str(folder), str(files[0]), "--notes", '{"command": "fedpriv run"}'])
    export([report.mlflow_run_id, str(files[1]), "--tracking-uri", uri])
    return [
        load_model(str(folder)),
        load_model(report.mlflow_run_id, uri),
        load_model("models:/eyes", uri),
        *[load_model(str(file)) for file in files],
    ]


def test_a_run_is_the_same_model_however_it_is_loaded(ways):
    images = noise(20, 36, 60)
    expected = ways[0].predict(images)
    for model in ways[1:]:
        assert (model.kind, model.in_shape, model.digest) == ("gaze", (1, 36, 60), ways[0].digest)
        assert model.predict(images) == expected


def test_the_answers_have_the_metric_that_the_run_measured(trained, ways):
    config, report, *_ = trained
    _, _, test = build_data(to_json(config))
    answers = ModelSet(ways[:1]).answer(list(np.array(test.images)[:, 0]), [("gaze",)] * len(test))
    assert score_answers(answers, test.targets)["angular_error_deg"] == pytest.approx(
        report.history[-1].metrics["angular_error_deg"], abs=1e-4
    )


def test_what_a_run_promised_on_privacy_travels_with_its_model(trained, ways):
    epsilon = trained[1].history[-1].epsilon
    for model in ways:
        statement = model.origin.statement
        assert (statement["unit"], statement["epsilon"], statement["delta"]) == ("sample", epsilon, 1e-5)
        assert (model.origin.data, statement["data"]) == ("synthetic_eyes", "synthetic_eyes")
    assert ways[3].origin.notes["command"] == "fedpriv run"


def test_a_run_registers_its_model_and_whoever_takes_a_run_takes_its_name(trained, capsys, tmp_path):
    from fedpriv.cli import main as fedpriv
    from fedpriv.tracking.registry import find

    _, report, uri, _ = trained
    store = ["--tracking-uri", uri]
    assert find(uri, "eyes").run_id == report.mlflow_run_id
    fedpriv(["register", report.mlflow_run_id, "eyes", "--alias", "champion", "--json", *store])
    made = json.loads(capsys.readouterr().out)
    assert (made["name"], made["run_id"]) == ("models:/eyes/1", report.mlflow_run_id)
    assert float(made["tags"]["epsilon"]) >= report.history[-1].epsilon
    assert made["tags"]["metric_value"] == str(report.history[-1].metrics["angular_error_deg"])
    fedpriv(["evaluate", "--run", "eyes@champion", "--json", *store])
    measured = json.loads(capsys.readouterr().out)
    assert (measured["source"], measured["run_id"]) == ("models:/eyes/1", report.mlflow_run_id)
    assert measured["metrics"]["angular_error_deg"] == pytest.approx(
        report.history[-1].metrics["angular_error_deg"], rel=1e-5
    )
    export(["models:/eyes/1", str(tmp_path / "eyes.npz"), *store])
    assert (
        load_model(str(tmp_path / "eyes.npz")).origin.statement
        == load_model("eyes@champion", uri).origin.statement
    )
    with pytest.raises(UserError, match=r"^models:/eyes/2: is not registered in sqlite:"):
        load_model("models:/eyes/2", uri)


def test_another_task_is_refused(tmp_path):
    config = compose_run(
        *SMALL, "data.images_per_person=12", "federation.rounds=1", "engine.workers=0", "tracking=none"
    )
    run(config, output_dir=tmp_path)
    with pytest.raises(UserError, match=r"its task is ClassificationTask; gaze and emotion are served"):
        load_model(str(tmp_path))


def test_places_without_a_model_are_one_line(tmp_path, trained):
    for source, reason in (
        (str(tmp_path), "holds no checkpoint"),
        (str(tmp_path / "none"), "holds no checkpoint"),
        (str(tmp_path / "none.npz"), "cannot be read"),
    ):
        with pytest.raises(UserError, match=reason):
            load_model(source)
    with pytest.raises(UserError, match="run_id=0"):
        load_model("0" * 32, trained[2])


def test_a_damaged_checkpoint_is_one_line(trained, tmp_path):
    shutil.copytree(trained[3], tmp_path / "run")
    state = Checkpoint(tmp_path / "run").folder / "state.npz"
    state.write_bytes(state.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"state\.npz: is damaged"):
        load_model(str(tmp_path / "run"))


def _weights(**others):
    module = GazeCNN((1, 36, 60))
    return {name: value.detach().clone() for name, value in module.named_parameters()} | others


@pytest.mark.parametrize(
    ("settings", "weights", "reason"),
    [
        (SETTINGS["gaze"] | {"width": 16}, _weights(), "the model of its settings has"),
        (SETTINGS["gaze"] | {"width": 8 * 10**6}, _weights(), "the model of its settings has"),
        (SETTINGS["gaze"] | {"width": 8 * 10**12}, _weights(), "its model cannot be made from its settings"),
        (SETTINGS["gaze"] | {"width": 8 * 10**30}, _weights(), "model"),
        ({"_target_": "fedpriv.models.face_cnn.FaceCNN", "width": 10**9}, _weights(), "at most 180"),
        (
            {"_target_": "fedpriv.models.margin_head.CosineHead", "class_vectors": [1.0], "trainable": True},
            {},
            "model",
        ),
        (SETTINGS["gaze"] | {"width": 7}, _weights(), "groups"),
        (SETTINGS["gaze"] | {"depth": 7}, _weights(), "has no such key"),
        ({"_target_": "os.system", "command": "true"}, _weights(), "not allowed"),
        ({"width": 8}, _weights(), "names no _target_"),
        (SETTINGS["gaze"], _weights(more=torch.zeros(3)), "weight more is"),
        (SETTINGS["gaze"], {}, "missing"),
        (
            SETTINGS["gaze"],
            {name: value.double() for name, value in _weights().items()},
            r"is float64 \(.*has float32 \(",
        ),
    ],
)
def test_weights_that_do_not_fit_are_refused_before_anything_is_allocated(settings, weights, reason):
    with pytest.raises(UserError, match=reason) as caught:
        rebuilt(GazeTask(), settings, (1, 36, 60), weights, Origin("run", "", {}, {}))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "arguments", [["nowhere", "a.npz"], ["nowhere", "a.pt"], ["x", "a.npz", "--notes", "["]]
)
def test_exporting_nothing_is_one_line_and_exit_2(arguments, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as caught:
        export(arguments)
    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith("fedpriv: ")
    assert not list(tmp_path.iterdir())
