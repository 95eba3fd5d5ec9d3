"""A served model as one file of numbers, and the models that the package brings along."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fedpriv.arrays import read_npz
from fedpriv.errors import UserError
from fedpriv.formats.files import atomic_output, check_input
from fedpriv.serving.loading import rebuilt
from fedpriv.serving.models import Origin, ServedModel
from fedpriv.tasks.base import Task
from fedpriv.tasks.emotion import EmotionTask
from fedpriv.tasks.gaze import GazeTask
from fedpriv.types import AnyArray

SHIPPED = Path(__file__).parent / "shipped"
"""Where the package keeps its own models; ``README.md`` there says how they were made."""

_FORMAT = 1
_MOST_BYTES = 256 * 2**20
_PREFIX = "weights/"
_DAMAGE = (
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    RecursionError,
)
_FACTS = {"format", "kind", "in_shape", "settings", "digest", "data", "statement", "notes"}


def save_weights(model: ServedModel, path: Path, notes: Mapping[str, Any] | None = None) -> None:
    """Write a model into one ``.npz`` file, mode 0600: an entry ``facts`` of JSON, and its weights.

    Weights that float16 holds exactly are written so, others as float32: nothing is rounded here.

    Args:
        model: what :mod:`fedpriv.serving.loading` returned.
        path: the file; it is replaced in one step.
        notes: facts to be kept beside those that the model has.

    Raises:
        UserError: it cannot be written.
    """
    facts = {
        "format": _FORMAT,
        "kind": model.kind,
        "in_shape": model.in_shape,
        "settings": model.settings,
        "digest": model.digest,
        "data": model.origin.data,
        "statement": dict(model.origin.statement),
        "notes": {**model.origin.notes, **(notes or {})},
    }
    arrays: dict[str, AnyArray] = {
        "facts": np.frombuffer(json.dumps(facts, indent=1).encode(), dtype=np.uint8)
    }
    arrays |= {f"{_PREFIX}{name}": _smallest(value) for name, value in model.weights.items()}
    with atomic_output(path) as file:
        np.savez(file, allow_pickle=False, **arrays)


def _smallest(value: AnyArray) -> AnyArray:
    with np.errstate(over="ignore"):
        half = value.astype(np.float16)
    return half if np.array_equal(half.astype(np.float32), value) else value


def read_weights(path: Path) -> ServedModel:
    """Read what :func:`save_weights` wrote.

    Guarantee:
        - Nothing is unpickled, and no more memory taken than a few times the size of the file.
        - The model is the one that was written: its digest is computed again and compared.

    Raises:
        UserError: the file is missing, damaged, of another kind, or does not fit its settings.
    """
    check_input(path, _MOST_BYTES, path.parent)
    damaged = UserError(f"{path}: is damaged or no file of weights; export the model again")
    try:
        arrays = read_npz(path)
        facts = json.loads(arrays.pop("facts").tobytes())
        if facts.keys() != _FACTS or facts["format"] != _FORMAT:
            raise UserError(f"{path}: is of another format; export the model again with this fedpriv")
        weights = {name.removeprefix(_PREFIX): _float32(value) for name, value in arrays.items()}
        in_shape = tuple(int(side) for side in facts["in_shape"])
        origin = Origin(str(path), str(facts["data"]), dict(facts["statement"]), dict(facts["notes"]))
        settings, task = dict(facts["settings"]), _task(facts["kind"], path)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check the file") from error
    except _DAMAGE as error:
        raise damaged from error
    model = rebuilt(task, settings, in_shape, weights, origin)
    if model.digest != facts["digest"]:
        raise damaged
    return model


def _float32(value: AnyArray) -> torch.Tensor:
    if value.dtype not in (np.float16, np.float32):
        raise ValueError("weights are float16 or float32")
    return torch.from_numpy(value.astype(np.float32))


def _task(kind: Any, path: Path) -> Task:
    """Return a task of a kind; of its settings none bears on inference."""
    if kind == "gaze":
        return GazeTask()
    if kind == "emotion":
        return EmotionTask()
    raise UserError(f"{path}: kind={kind}: gaze and emotion are served; choose such a model")
