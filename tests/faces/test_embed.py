"""From pictures to embeddings: the same however a model is loaded, and nothing but face models."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from fedpriv.config.as_json import to_json
from fedpriv.config.compose import compose_run
from fedpriv.config.datasets import build_data
from fedpriv.config.instantiate import instantiate
from fedpriv.errors import UserError
from fedpriv.faces.embed import export, load_embedder
from fedpriv.faces.owner import means
from fedpriv.runner import run
from fedpriv.tasks.face import FaceTask
from tests.conftest import TINY

FACE = (
    *(each for each in TINY if not each.startswith(("task=", "data.", "federation.rounds", "tracking"))),
    "task=face",
    "data.people=8",
    "data.images_per_person=6",
    "model=face_cnn",
    "+model.outputs=12",
    "federation.rounds=1",
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A tiny face run: (configuration, output folder)."""
    folder = tmp_path_factory.mktemp("faces")
    config = compose_run(*FACE, "tracking=none", "evaluation.pictures=0")
    run(config, output_dir=folder / "out")
    return config, folder / "out"


def require_alike(ways, images):
    first = ways[0].embed(images)
    assert first.shape == (len(images), 12)
    np.testing.assert_allclose(np.linalg.norm(first, axis=1), 1.0, atol=1e-12)
    for each in ways:
        assert (each.dimension, each.in_shape, each.digest) == (12, ways[0].in_shape, ways[0].digest)
        np.testing.assert_array_equal(each.embed(images), first)
    np.testing.assert_allclose(ways[0].embed(images[:1]), first[:1], atol=1e-12)


def test_a_run_makes_the_same_embeddings_from_its_folder_and_a_file(trained, tmp_path):
    config, folder = trained
    export(str(folder), tmp_path / "model.npz")
    _, _, test = build_data(to_json(config))
    ways = [load_embedder(str(each)) for each in (folder, tmp_path / "model.npz")]
    require_alike(ways, np.array(test.images[:10]))


@pytest.mark.slow
def test_a_run_makes_the_same_embeddings_from_mlflow(tmp_path, database):
    uri = database(tmp_path / "mlflow.db")
    tracked = ("tracking=mlflow", f"tracking.uri={uri}", "tracking.register=faces")
    config = compose_run(*FACE, *tracked, "evaluation.pictures=0")
    report = run(config, output_dir=tmp_path / "out")
    export(report.mlflow_run_id, tmp_path / "model.npz", uri)
    _, _, test = build_data(to_json(config))
    ways = [
        load_embedder(str(tmp_path / "out")),
        load_embedder(report.mlflow_run_id, uri),
        load_embedder("models:/faces/1", uri),
        load_embedder(str(tmp_path / "model.npz")),
    ]
    require_alike(ways, np.array(test.images[:10]))


def test_embeddings_are_those_that_the_task_measures(trained):
    config, folder = trained
    _, _, test = build_data(to_json(config))
    embedder = load_embedder(str(folder))
    model = instantiate("model", dict(config.model), in_shape=embedder.in_shape)
    weights = {name: torch.from_numpy(value) for name, value in weights_of(embedder).items()}
    model.load_state_dict(weights)
    expected = FaceTask().embed(model, test)
    expected = expected / np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(embedder.embed(np.array(test.images)), expected, atol=1e-5)


def weights_of(embedder):
    return embedder.function.__self__.weights


def test_a_run_of_another_task_is_no_face_model(trained, tmp_path):
    shutil.copytree(trained[1], tmp_path / "run")
    path = tmp_path / "run" / "checkpoint" / "run.json"
    record = json.loads(path.read_text())
    record["config"]["task"] = {"_target_": "fedpriv.tasks.gaze.GazeTask"}
    path.write_text(json.dumps(record))
    with pytest.raises(UserError, match="its task is GazeTask, no face model; choose a run of task=face"):
        load_embedder(str(tmp_path / "run"))


def test_files_that_are_no_face_model_are_refused(trained, tmp_path):
    from fedpriv.serving.weights import SHIPPED

    with pytest.raises(UserError, match="kind=gaze: is no face model"):
        load_embedder(str(SHIPPED / "gaze.npz"))
    with pytest.raises(UserError):
        load_embedder(str(tmp_path / "missing.npz"))
    with pytest.raises(UserError):
        load_embedder(str(tmp_path))
    export(str(trained[1]), tmp_path / "model.npz")
    whole = (tmp_path / "model.npz").read_bytes()
    for cut in (10, len(whole) // 2, len(whole) - 1):
        (tmp_path / "cut.npz").write_bytes(whole[:cut])
        with pytest.raises(UserError, match=r"cut\.npz: "):
            load_embedder(str(tmp_path / "cut.npz"))


def test_weights_of_another_shape_are_refused(trained, tmp_path):
    export(str(trained[1]), tmp_path / "model.npz")
    with np.load(tmp_path / "model.npz") as found:
        arrays = dict(found)
    facts = json.loads(arrays["facts"].tobytes())
    facts["settings"]["outputs"] = 13
    arrays["facts"] = np.frombuffer(json.dumps(facts).encode(), np.uint8)
    np.savez(tmp_path / "other.npz", **arrays)
    with pytest.raises(UserError, match="the model of its settings has"):
        load_embedder(str(tmp_path / "other.npz"))
    with pytest.raises(UserError, match=r"end its name so"):
        export(str(trained[1]), tmp_path / "model.bin")


def test_pixels_need_no_model(tmp_path):
    random = np.random.default_rng(0)
    for name in "ab":
        Image.fromarray(random.integers(0, 256, (112, 92), dtype=np.uint8)).save(tmp_path / f"{name}.png")
    made = load_embedder("pixels:24")
    rows = made.read([tmp_path / "a.png", tmp_path / "b.png"])
    assert rows.shape == (2, 24)
    np.testing.assert_allclose(made.read([tmp_path / "b.png"]), rows[1:], atol=1e-12)
    assert load_embedder("pixels").dimension == 128
    assert load_embedder("pixels:24").digest == made.digest != load_embedder("pixels").digest
    with pytest.raises(UserError, match="pixels:1: choose 2 to 1024"):
        load_embedder("pixels:1")


def test_a_picture_without_an_embedding_is_refused(tmp_path):
    Image.fromarray(np.full((56, 46), 77, np.uint8)).save(tmp_path / "grey.png")
    with pytest.raises(UserError, match="has no embedding for picture 0"):
        load_embedder("pixels:8").read([tmp_path / "grey.png"])
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(UserError, match=r"text\.png"):
        load_embedder("pixels:8").read([tmp_path / "text.png"])


def test_means_are_of_each_persons_rows():
    rows = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    np.testing.assert_allclose(means(rows, [2, 1]), [[0.5**0.5, 0.5**0.5], [0.0, 1.0]])
    with pytest.raises(UserError, match="cancel each other"):
        means(np.array([[1.0, 0.0], [-1.0, 0.0]]), [2])
