"""Face models that federated runs produced, wherever they are kept."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fedpriv.arrays import read_npz
from fedpriv.data.dataset import ImageDataset
from fedpriv.errors import UserError
from fedpriv.faces.embedder import MOST_DIMENSIONS, Embedder, Inputs
from fedpriv.faces.false_accepts import FalseAccepts, drawn, impostor_scores
from fedpriv.formats.files import atomic_output, check_input
from fedpriv.model_names import is_run_id, names_registered
from fedpriv.tasks.base import Task
from fedpriv.tasks.face import FaceTask
from fedpriv.types import AnyArray

_TOGETHER = 16
_FORMAT = 1
_MOST_BYTES = 256 * 2**20
_MOST_SIDE = 1024
_PREFIX = "weights/"
_FACTS = {"format", "kind", "in_shape", "settings", "data", "false_accepts"}


class FaceModel:
    """A backbone in evaluation mode and float64: an embedding does not depend on what is beside it."""

    def __init__(
        self, source: str, settings: Mapping[str, Any], in_shape: Sequence[int], module: nn.Module, data: str
    ) -> None:
        """Take over a model in float32; the module itself is changed.

        Raises:
            UserError: when it takes no pictures, has state besides weights, or weights that are not finite.
        """
        self.source, self.settings, self.data = source, dict(settings), data
        self.false_accepts: FalseAccepts | None = None
        if len(in_shape) != 3 or in_shape[0] not in (1, 3) or not all(0 < s <= _MOST_SIDE for s in in_shape):
            raise UserError(f"{source}: its model takes pictures of {tuple(in_shape)}; choose another run")
        self.in_shape = (int(in_shape[0]), int(in_shape[1]), int(in_shape[2]))
        if any(True for _ in module.buffers()):
            raise UserError(f"{source}: its model keeps statistics besides weights; choose another run")
        self.weights = {
            name: np.array(value.detach().numpy(), np.float32) for name, value in module.named_parameters()
        }
        if not all(np.isfinite(value).all() for value in self.weights.values()):
            raise UserError(f"{source}: its model holds NaN or infinite weights; choose another run")
        self._module, self._task = module.double().eval().requires_grad_(requires_grad=False), FaceTask()

    def function(self, images: Inputs) -> NDArray[np.float64]:
        """As :meth:`FaceTask.embed`: that of each picture plus that of its mirror image."""
        found = []
        with torch.inference_mode():
            for start in range(0, len(images), _TOGETHER):
                part = torch.from_numpy(np.array(images[start : start + _TOGETHER]))
                inputs = self._task.preprocess(part).double()
                found.append((self._module(inputs) + self._module(inputs.flip(3))).numpy())
        return np.concatenate(found)

    def embedder(self) -> Embedder:
        """Return what makes embeddings of pictures."""
        dimension = self.function(np.zeros((1, *self.in_shape), np.uint8)).shape[1]
        if dimension > MOST_DIMENSIONS:
            raise UserError(f"{self.source}: embeddings of {dimension} numbers, at most {MOST_DIMENSIONS}")
        facts = {
            "kind": "face",
            "in_shape": self.in_shape,
            "settings": self.settings,
            "weights": [(name, value.shape) for name, value in sorted(self.weights.items())],
        }
        digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
        for _, value in sorted(self.weights.items()):
            digest.update(value.astype("<f4").tobytes())
        return Embedder(
            self.source, self.in_shape, dimension, digest.hexdigest(), self.function, self.false_accepts
        )

    def measure(self, held_out: ImageDataset) -> None:
        """Measure false accepts on pictures of people whom it was not trained on."""
        chosen = drawn(len(held_out), held_out.pairs)
        rows = self.embedder().embed(np.asarray(held_out.images[chosen]))
        subjects = held_out.subjects[chosen]
        scores = impostor_scores(rows, subjects, held_out.pairs)
        self.false_accepts = FalseAccepts.measured(scores, len(np.unique(subjects)))

    def save(self, path: Path) -> None:
        """Write it into one ``.npz`` file, mode 0600: an entry ``facts`` of JSON, and its weights.

        Raises:
            UserError: when it cannot be written.
        """
        facts = {
            "format": _FORMAT,
            "kind": "face",
            "in_shape": self.in_shape,
            "settings": self.settings,
            "data": self.data,
            "false_accepts": None if self.false_accepts is None else self.false_accepts.to_json(),
        }
        arrays: dict[str, AnyArray] = {"facts": np.frombuffer(json.dumps(facts).encode(), np.uint8)}
        arrays |= {f"{_PREFIX}{name}": value for name, value in self.weights.items()}
        with atomic_output(path) as file:
            np.savez(file, allow_pickle=False, **arrays)


def load_face_model(source: str, tracking_uri: str | None) -> FaceModel:
    """Load a model by where it is: a run's output folder, a ``.npz`` file, MLflow's run or registered model.

    Of the latter ``source`` is the id, or ``models:/NAME``, ``models:/NAME/VERSION`` or ``NAME@ALIAS``; a
    file or folder of such a name wins.

    Guarantee:
        - Whoever wrote the weights cannot run code here: they are numbers that must fit a model which the
          settings name, and the settings can name fedpriv's own models only.

    Raises:
        UserError: it is none of these, damaged, or no face model.
    """
    path = Path(source)
    if path.suffix == ".npz":
        return _from_file(path)
    if (is_run_id(source) or names_registered(source)) and not path.exists():
        return _from_mlflow(source, tracking_uri)
    return _from_folder(path)


def held_out_of(source: str) -> ImageDataset | None:
    """Return the pictures that a run's model is tested with, of people it was not trained on.

    None for all but a run's output folder: a file knows no data, and what somebody logged to MLflow is not to
    say which files are read here. None as well where a test has people of the training.

    Raises:
        UserError: the run's data are not there.
    """
    from fedpriv.checkpoint import Checkpoint
    from fedpriv.config.as_json import to_json
    from fedpriv.config.datasets import build_data
    from fedpriv.config.saved import restored

    folder = Path(source)
    if not folder.is_dir():
        return None
    _, training, test = build_data(to_json(restored(source, Checkpoint(folder).record().config)))
    trained = {training.subject_names[each] for each in np.unique(training.subjects)}
    tested = {test.subject_names[each] for each in np.unique(test.subjects)}
    return None if trained & tested else test


def _from_folder(folder: Path) -> FaceModel:
    from fedpriv.checkpoint import Checkpoint
    from fedpriv.config.instantiate import instantiate
    from fedpriv.config.saved import restored
    from fedpriv.config.trained import trained_model

    checkpoint = Checkpoint(folder)
    record = checkpoint.record()
    config = restored(str(folder), record.config)
    _require_face(instantiate("task", config.task, kind=Task), str(folder))  # before its data are loaded
    model, training, _ = trained_model(folder, config, checkpoint.load())
    return FaceModel(str(folder), record.config["model"], training.image_shape, model, training.name)


def _from_mlflow(name: str, tracking_uri: str | None) -> FaceModel:
    from fedpriv.config.instantiate import instantiate
    from fedpriv.config.saved import restored
    from fedpriv.tracking.model_loading import load_model
    from fedpriv.tracking.registry import find
    from fedpriv.tracking.run_reading import read_config

    found = find(tracking_uri, name)
    source = found.source
    said = restored(source, read_config(tracking_uri, found.run_id))
    _require_face(instantiate("task", said.task, kind=Task), source)  # before weights are loaded
    logged = load_model(tracking_uri, found.run_id, found.location)
    config = restored(source, logged.config)  # these are checked against their digest
    _require_face(instantiate("task", config.task, kind=Task), source)
    data = str(logged.statement.get("data", ""))
    return _rebuilt(source, dict(config.model), logged.in_shape, logged.weights, data)


def _from_file(path: Path) -> FaceModel:
    check_input(path, _MOST_BYTES, path.parent)
    damaged = UserError(f"{path}: is damaged or no file of a face model; export the model again")
    try:
        arrays = read_npz(path)
        facts = json.loads(arrays.pop("facts").tobytes())
        if facts.get("kind") != "face":
            raise UserError(f"{path}: kind={str(facts.get('kind'))[:20]}: is no face model; choose one")
        # files of before have no measurement
        if facts.keys() | {"false_accepts"} != _FACTS or facts["format"] != _FORMAT:
            raise UserError(f"{path}: is of another format; export the model again with this fedpriv")
        weights = {
            name.removeprefix(_PREFIX): torch.from_numpy(value.copy()) for name, value in arrays.items()
        }
        in_shape = tuple(int(side) for side in facts["in_shape"])
        settings, data = dict(facts["settings"]), str(facts["data"])
        told = facts.get("false_accepts")
        false_accepts = None if told is None else FalseAccepts.from_json(told)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check the file") from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise damaged from error
    model = _rebuilt(str(path), settings, in_shape, weights, data)
    model.false_accepts = false_accepts
    return model


def _rebuilt(
    source: str,
    settings: Mapping[str, Any],
    in_shape: Sequence[int],
    weights: Mapping[str, Tensor],
    data: str,
) -> FaceModel:
    """Put weights into the model that ``settings`` name, once they are found to be its own."""
    from fedpriv.config.rebuilt import rebuilt_model

    module = rebuilt_model(source, settings, tuple(in_shape), None, weights)
    return FaceModel(source, settings, in_shape, module, data)


def _require_face(task: object, source: str) -> None:
    if not isinstance(task, FaceTask):
        raise UserError(
            f"{source}: its task is {type(task).__name__}, no face model; choose a run of task=face"
        )
