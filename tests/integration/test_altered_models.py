"""What somebody altered in the store: it is refused in one line, or makes no difference, and runs nothing."""

import contextlib
import hashlib
import json
import pickle
import shutil
import sqlite3
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from mlflow import MlflowClient
from omegaconf import OmegaConf

from experiments.evaluate.saved_models import from_run
from fedpriv.cli import main
from fedpriv.config.as_json import to_json
from fedpriv.config.compose import compose_run
from fedpriv.config.datasets import build_data
from fedpriv.config.models import build_backbone
from fedpriv.errors import UserError
from fedpriv.faces.face_models import load_face_model
from fedpriv.serving.defaults import load_models
from fedpriv.tracking.mlflow_logger import RunLogger
from fedpriv.tracking.registry import register
from tests.conftest import TINY

FACE = (
    *(each for each in TINY if not each.startswith(("task=", "data."))),
    "task=face",
    "data.people=8",
    "data.images_per_person=6",
    "model=face_cnn",
    "+model.outputs=12",
)
STATEMENT = {"unit": "none", "epsilon": None, "delta": None, "data": "synthetic", "noise": None}


class Store:
    """A store with one registered model, as a run logs it, and what an attacker can do to it."""

    def __init__(self, folder: Path, uri: str, overrides: tuple[str, ...]) -> None:
        config = compose_run(*overrides)
        self.folder, self.uri, self.text = folder, uri, to_json(config)
        self.model = build_backbone(self.text).eval()
        task, _, self.test = build_data(self.text)
        plain = OmegaConf.to_container(OmegaConf.structured(config), enum_to_str=True)
        with RunLogger.start(uri, "e", None, None, plain, 0, tags={"metric": task.metric.name}) as logger:
            logger.log_model(self.model, task.example(self.test), STATEMENT)
        self.run_id, self.name = logger.run_id, register(uri, logger.run_id, "altered").name
        (self.program,) = folder.glob("**/model.pt2")
        (self.weights,) = folder.glob("**/weights.npz")
        (self.described,) = folder.glob("**/MLmodel")
        (self.config,) = folder.glob("**/config.yaml")

    def entries(self, name=None):
        """Return what loads a model of this task, each by what it makes of the store's."""
        name = name or self.name
        if "FaceTask" in self.text:
            return {"faces": lambda: load_face_model(name, self.uri).weights}
        return {
            "evaluate": lambda: from_run(name, self.uri).model.state_dict(),
            "relays": lambda: load_models([name], self.uri).models[0].weights,
        }

    def put(self, path: Path, data: bytes) -> None:
        """Replace a file, and the digest in the database: the attacker can write to both."""
        path.write_bytes(data)
        name = {self.weights: "weights", self.described: "mlmodel", self.config: "config"}[path]
        with sqlite3.connect(self.folder / "mlflow.db") as database:
            changed = database.execute(
                "UPDATE logged_model_params SET param_value = ? WHERE param_key = ?",
                (hashlib.sha256(data).hexdigest(), f"{name}_sha256"),
            )
            assert changed.rowcount == 1

    def put_weights(self, data: bytes) -> None:
        self.put(self.weights, data)

    def arrays(self) -> dict[str, np.ndarray]:
        with np.load(self.weights) as found:
            return dict(found)

    def put_setting(self, group: str, key: str, value: object) -> None:
        config = yaml.safe_load(self.config.read_text())
        config[group][key] = value
        self.put(self.config, yaml.safe_dump(config).encode())


@pytest.fixture(scope="module", params=[(*TINY,), FACE], ids=["gaze", "face"])
def untouched(request, tmp_path_factory, database):
    folder = tmp_path_factory.mktemp("store")
    return Store(folder, database(folder / "mlflow.db"), request.param)


@pytest.fixture
def store(untouched, tmp_path):
    """The store, put back after the test."""
    shutil.copytree(untouched.folder, tmp_path / "before")
    yield untouched
    shutil.copytree(
        tmp_path / "before", untouched.folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("mlflow.db*")
    )
    # as a transaction, for MLflow's open connections tell by its counter whether the file is another
    with (
        contextlib.closing(sqlite3.connect(tmp_path / "before" / "mlflow.db")) as before,
        contextlib.closing(sqlite3.connect(untouched.folder / "mlflow.db")) as database,
    ):
        before.backup(database)


def refused(load, reason):
    with pytest.raises(UserError, match=reason) as caught:
        load()
    assert "\n" not in str(caught.value)


def saved(arrays, **more) -> bytes:
    file = BytesIO()
    np.savez(file, **arrays, **more)
    return file.getvalue()


def test_an_honest_model_is_the_one_that_was_logged_however_it_is_loaded(store):
    expected = {name: value.numpy() for name, value in store.model.state_dict().items()}
    for load in store.entries().values():
        found = {name: np.asarray(value) for name, value in load().items()}
        assert found.keys() == expected.keys()
        assert all(found[name].tobytes() == value.tobytes() for name, value in expected.items())
    images = torch.randn(3, *store.test.image_shape, generator=torch.Generator().manual_seed(0))
    program = torch.export.load(store.program).module()
    with torch.no_grad():
        again = from_run(store.name, store.uri).model(images)
        assert torch.equal(again, store.model(images))
        assert torch.equal(again, program(images)), "what MLflow's users get"


def with_code_in_its_sizes(program: Path, mark: Path) -> bytes:
    """Put a call into every size that the graph writes as an expression, as torch.export reads them."""
    altered, calls = program.with_suffix(".altered"), 0

    def walk(node):
        nonlocal calls
        if isinstance(node, dict):
            if "expr_str" in node:
                node["expr_str"] = f"__import__('pathlib').Path('{mark}').touch() or {node['expr_str']}"
                calls += 1
            node = list(node.values())
        for each in node if isinstance(node, list) else []:
            walk(each)

    with zipfile.ZipFile(program) as old, zipfile.ZipFile(altered, "w", zipfile.ZIP_STORED) as new:
        for info in old.infolist():
            data = old.read(info)
            if info.filename.endswith("models/model.json"):
                graph = json.loads(data)
                walk(graph)
                data = json.dumps(graph).encode()
            new.writestr(info, data)
    assert calls
    data = altered.read_bytes()
    altered.unlink()
    return data


def test_guarantee_an_altered_program_runs_nothing(store, tmp_path, capsys):
    mark = tmp_path / "harm"
    store.program.write_bytes(with_code_in_its_sizes(store.program, mark))
    expected = {name: value.numpy().tolist() for name, value in store.model.state_dict().items()}
    for load in store.entries().values():
        assert {name: value.tolist() for name, value in load().items()} == expected
    main(["evaluate", "--run", store.name, "--tracking-uri", store.uri, "--json"])
    assert json.loads(capsys.readouterr().out)["images"] == len(store.test)
    assert register(store.uri, store.run_id, "altered").name == store.name
    assert not mark.exists()
    with contextlib.suppress(Exception):  # whether it gives a model is not the point
        torch.export.load(store.program)
    assert mark.exists(), "the program would have done harm"


def test_guarantee_the_program_is_not_even_read(store):
    shutil.rmtree(store.program.parent)
    (store.described.parent / "requirements.txt").write_text("os\n")
    for load in store.entries().values():
        load()


class Harm:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_weights_with_a_pickle_inside_are_refused_and_nothing_is_unpickled(store, tmp_path):
    objects = np.array([Harm(tmp_path / "harm")], dtype=object)
    for data in (
        saved(store.arrays() | {"weights/more": objects}),
        saved(dict.fromkeys(store.arrays(), objects)),
        pickle.dumps(Harm(tmp_path / "harm")),
    ):
        store.put_weights(data)
        for load in store.entries().values():
            refused(
                load, r"weights\.npz of its model is missing, damaged or not what was logged; put it back"
            )
    assert not (tmp_path / "harm").exists()
    pickle.loads(data)  # noqa: S301
    assert (tmp_path / "harm").exists(), "it would have done harm"


def test_weights_that_do_not_fit_are_refused(store):
    arrays = store.arrays()
    first = next(iter(arrays))
    shorter = {name: value for name, value in arrays.items() if name != first}
    for data, reason in (
        (saved(shorter), "is missing, the model of its settings has"),
        (saved({}), "is missing, the model of its settings has"),
        (saved(arrays | {"weights/a\nb": np.zeros(3, np.float32)}), "weight a b is float32"),
        (saved(arrays | {first: arrays[first][:1]}), "the model of its settings has"),
        (saved(arrays | {first: arrays[first].T.copy().reshape(-1)}), "the model of its settings has"),
        (saved(arrays | {first: arrays[first].astype(np.float64)}), "is float64 .* has float32"),
        (saved(arrays | {first: arrays[first].astype(">f4")}), "damaged or not what was logged"),
        (saved(arrays)[:-100], "damaged or not what was logged"),
        (b"", "damaged or not what was logged"),
    ):
        store.put_weights(data)
        for load in store.entries().values():
            refused(load, reason)


def test_weights_that_are_no_numbers_are_neither_served_nor_measured(store):
    arrays = store.arrays()
    first = next(iter(arrays))
    for wrong in (np.nan, -np.inf):
        value = arrays[first].copy()
        value.flat[-1] = wrong
        store.put_weights(saved(arrays | {first: value}))
        for load in store.entries().values():
            refused(load, f"NaN or infinite weights in {first.removeprefix('weights/')}; choose")


def test_a_header_that_claims_more_than_the_file_holds_takes_no_memory(store):
    member = BytesIO()
    np.lib.format.write_array_header_1_0(
        member, {"descr": "<f4", "fortran_order": False, "shape": (2**31, 2**31)}
    )
    file = BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("weights/a.npy", member.getvalue() + bytes(64))
    store.put_weights(file.getvalue())
    for load in store.entries().values():
        refused(load, "damaged or not what was logged")
    deflated = BytesIO()
    with zipfile.ZipFile(deflated, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("weights/a.npy", member.getvalue() + bytes(10**7))
    store.put_weights(deflated.getvalue())
    for load in store.entries().values():
        refused(load, "damaged or not what was logged")


def test_weights_exchanged_in_the_folder_alone_are_noticed(store):
    arrays = store.arrays()
    store.weights.write_bytes(saved({name: value + 1 for name, value in arrays.items()}))
    for load in store.entries().values():
        refused(load, "not what was logged")
    store.put_weights(store.weights.read_bytes())
    for load in store.entries().values():
        load()  # who writes to the database too is not noticed: MLflow signs nothing


def test_a_statement_a_shape_or_settings_exchanged_in_the_folder_alone_are_noticed(store):
    for path, old, new in (
        (store.described, "unit: none", "unit: sample"),
        (store.described, "[-1, ", "[-1, 3, "),
        (store.config, "model:\n", "model:\n  dropout: 0.5\n"),
    ):
        before = path.read_text()
        assert old in before
        path.write_text(before.replace(old, new, 1))
        for load in store.entries(store.run_id).values():
            refused(load, rf"{path.name} .*not what was logged; put it back")
        path.write_text(before)


def test_a_folder_where_a_file_is_expected_is_not_fetched(store):
    for path in (store.described, store.weights, store.config):
        before = path.read_bytes()
        path.unlink()
        path.mkdir()
        (path / path.name).write_bytes(before)
        for load in store.entries().values():
            refused(load, path.name)
        shutil.rmtree(path)
        path.write_bytes(before)


def test_a_model_on_another_host_is_not_asked_for(store):
    with sqlite3.connect(store.folder / "mlflow.db") as database:
        database.execute("UPDATE logged_models SET artifact_location = 'http://127.0.0.1:9/1'")
    for load in store.entries(store.run_id).values():
        refused(load, r"^artifacts=http://127\.0\.0\.1:9/1: .*the tracking server's own host")


def test_a_model_of_an_earlier_version_is_refused_with_the_mend(store):
    store.weights.unlink()
    for load in store.entries().values():
        refused(load, "is missing, damaged or not what was logged; put it back, name the run's output folder")
    with sqlite3.connect(store.folder / "mlflow.db") as database:
        database.execute("DELETE FROM logged_model_params")
    for load in store.entries().values():
        refused(
            load,
            f"run_id={store.run_id}: its model was logged by an earlier fedpriv or by another program, and "
            "is not executed; name the run's output folder, or run it again",
        )


def test_weights_that_are_a_link_to_another_file_are_refused(store, tmp_path):
    shutil.copy(store.weights, tmp_path / "elsewhere.npz")
    store.weights.unlink()
    store.weights.symlink_to(tmp_path / "elsewhere.npz")
    for load in store.entries().values():
        refused(load, "damaged or not what was logged")
    store.weights.unlink()


@pytest.mark.parametrize(
    ("group", "key", "value", "reason"),
    [
        ("model", "_target_", "os.system", "model._target_=os.system: not allowed"),
        ("model", "_target_", "fedpriv.models.face_cnn.np.load", "not allowed|no such object"),
        ("model", "_target_", "fedpriv.data.cache.cached", "makes no model|no such object"),
        ("model", "width", 8 * 10**7, "the model of its settings has|at most 180"),
        ("model", "width", 8 * 10**15, "cannot be made from its settings|at most 180"),
        ("model", "width", 10**400, "model|cannot be read"),
        ("model", "width", {"_target_": "os.system"}, "model"),
        ("model", "command", "true", "model has no such key"),
        ("task", "_target_", "subprocess.run", "task._target_=subprocess.run: not allowed"),
        ("task", "_target_", "fedpriv.data.dataset.ImageDataset", "makes no task"),
    ],
    ids=str,
)
def test_settings_that_name_code_or_no_computers_sizes_are_refused(store, group, key, value, reason):
    store.put_setting(group, key, value)
    for load in store.entries().values():
        refused(load, reason)


def test_settings_that_grow_or_sink_are_refused(store):
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 12)
    )
    for text in (
        bomb + "model: *a11\n",
        "model: &a {b: *a}\n",
        "model: " + "[" * 100_000,
        "model: !!python/object/apply:os.system ['true']\n",
        "model: 2001-99-99\n",
    ):
        for path in (store.config, store.described):
            before = path.read_bytes()
            store.put(path, text.encode())
            refused(next(iter(store.entries().values())), "cannot be read; choose a run that fedpriv logged")
            store.put(path, before)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("-1, ", "-1, 100000, ", "takes images of|the model of its settings has|takes pictures of"),
        ("[-1, ", "[-1, 0, ", "cannot be read"),
        ("[-1, ", "[-1, 0.5, ", "cannot be read"),
        ("epsilon: null", "epsilon: [1]", "its model states epsilon = "),
        ("epsilon: null", "epsilon: small", "its model states epsilon = 'small'"),
        ("data: synthetic", "data: {a: b}", "its model states data = "),
    ],
)
def test_a_description_that_does_not_fit_is_refused(store, old, new, reason):
    text = store.described.read_text()
    assert old in text
    store.put(store.described, text.replace(old, new).encode())
    for load in store.entries().values():
        refused(load, reason)


def test_a_model_kept_in_the_database_under_another_address_is_no_program_either(store, tmp_path):
    """Whoever writes to the database can name another folder: what is there is read in the same way."""
    client = MlflowClient(store.uri)
    model = client.get_logged_model(client.get_run(store.run_id).outputs.model_outputs[0].model_id)
    mark = tmp_path / "harm"
    shutil.copytree(store.described.parent, tmp_path / "other")
    program = tmp_path / "other" / "data" / "model.pt2"
    program.write_bytes(with_code_in_its_sizes(program, mark))
    with sqlite3.connect(store.folder / "mlflow.db") as database:
        database.execute("UPDATE logged_models SET artifact_location = ?", (str(tmp_path / "other"),))
    assert client.get_logged_model(model.model_id).artifact_location != model.artifact_location
    for load in store.entries(store.run_id).values():
        load()
    assert not mark.exists()
