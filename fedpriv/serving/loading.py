"""The models that federated runs produced, made ready to answer."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from torch import Tensor

from fedpriv.checkpoint import Checkpoint
from fedpriv.config.instantiate import instantiate
from fedpriv.config.rebuilt import rebuilt_model
from fedpriv.config.saved import restored
from fedpriv.config.trained import trained_model
from fedpriv.errors import UserError
from fedpriv.model_names import is_run_id, names_registered
from fedpriv.serving.models import OUTPUTS, Origin, ServedModel, checked_shape, kind_of
from fedpriv.tasks.base import Task


def from_folder(folder: Path) -> ServedModel:
    """Load the model after the last finished round of a run's output folder.

    The run's own data are needed, for its images give the model its shape; :mod:`fedpriv.serving.export`
    writes a file that needs them no more.

    Raises:
        UserError: there is no checkpoint, it is damaged, its data are not there or give another model, or its
            task is not served.
    """
    checkpoint = Checkpoint(folder)
    record = checkpoint.record()
    config = restored(str(folder), record.config)
    task = cast(Task, instantiate("task", config.task, kind=Task))
    kind_of(task, str(folder))  # before its data are loaded
    snapshot = checkpoint.load()
    model, training, statement = trained_model(folder, config, snapshot)
    last = snapshot.history[-1]
    measured = {record.metric: last.metrics[record.metric]} if record.metric in last.metrics else {}
    origin = Origin(str(folder), training.name, statement, {"round": last.number, **measured})
    return ServedModel(task, record.config["model"], training.image_shape, model, origin)


def from_mlflow(name: str, tracking_uri: str | None = None) -> ServedModel:
    """Load the final model of an MLflow run, or a registered one; no data are needed.

    The stored program is not executed: weights go into the model that the run's settings name.

    Args:
        name: a run id, or as for :func:`fedpriv.model_names.parse_model_name`.
        tracking_uri: the MLflow store; None is the default one.

    Raises:
        UserError: the store has no such run or model, or the run no model of fedpriv's, or one that is not
            served.
    """
    from fedpriv.tracking.model_loading import load_model
    from fedpriv.tracking.registry import find
    from fedpriv.tracking.run_reading import read_config

    found = find(tracking_uri, name)
    source = found.source
    said = restored(source, read_config(tracking_uri, found.run_id))
    kind_of(cast(Task, instantiate("task", said.task, kind=Task)), source)  # before weights are loaded
    logged = load_model(tracking_uri, found.run_id, found.location)
    config = restored(source, logged.config)  # these are checked against their digest
    task = cast(Task, instantiate("task", config.task, kind=Task))
    statement = dict(logged.statement)
    origin = Origin(source, str(statement.get("data", "")), statement, {})
    return rebuilt(task, dict(config.model), logged.in_shape, logged.weights, origin)


def rebuilt(
    task: Task,
    settings: Mapping[str, Any],
    in_shape: Sequence[int],
    weights: Mapping[str, Tensor],
    origin: Origin,
) -> ServedModel:
    """Put weights into the model that ``settings`` name.

    Guarantee:
        Nothing is allocated for a model before its weights are found to be those given, by name and shape.

    Args:
        task: whose model it is.
        settings: ``_target_`` and arguments.
        in_shape: (1, H, W).
        weights: float32 by name.
        origin: where all this is from.

    Raises:
        UserError: they do not fit, or the model is not served.
    """
    kind, source = kind_of(task, origin.source), origin.source
    shape = checked_shape(in_shape, source)
    module = rebuilt_model(source, settings, shape, OUTPUTS[kind], weights)
    if [name for name, _ in module.named_buffers()]:
        raise UserError(f"{source}: its model keeps statistics besides weights; it cannot be served")
    return ServedModel(task, settings, shape, module, origin)


def load_model(source: str, tracking_uri: str | None = None) -> ServedModel:
    """Load a model by where it is: a run's output folder, a weights file, MLflow's run or registered model.

    Args:
        source: a folder, a file ending in ``.npz``, 32 hexadecimal digits, or ``models:/NAME``,
            ``models:/NAME/VERSION``, ``NAME@ALIAS``; a file or folder of such a name wins.
        tracking_uri: the MLflow store of a run id or name; None is the default one.

    Raises:
        UserError: it is none of these, or cannot be loaded.
    """
    from fedpriv.serving.weights import read_weights

    path = Path(source)
    if path.suffix == ".npz":
        return read_weights(path)
    if (is_run_id(source) or names_registered(source)) and not path.exists():
        return from_mlflow(source, tracking_uri)
    return from_folder(path)
