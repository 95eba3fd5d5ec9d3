"""A trained model read back with what is known about it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from torch import nn

from fedpriv.arrays import not_finite
from fedpriv.checkpoint import Checkpoint, RunRecord
from fedpriv.config.instantiate import instantiate
from fedpriv.config.privacy import build_privacy, sum_plan_of
from fedpriv.config.rebuilt import rebuilt_model
from fedpriv.config.saved import restored
from fedpriv.config.schema import RunConfig
from fedpriv.config.trained import trained_model
from fedpriv.errors import UserError
from fedpriv.federated.strategy.books import releases, spent_most
from fedpriv.privacy import accounting
from fedpriv.snapshot import Snapshot
from fedpriv.tasks.base import Task


@dataclass(frozen=True)
class SavedModel:
    """A trained model with what is known about it.

    Attributes:
        source: where it is from, for messages.
        config: nested plain settings of its run.
        model: maps preprocessed images to outputs, in evaluation mode.
        in_shape: (C, H, W) that it takes.
        statement: what its run promised: unit, epsilon, delta, data, noise.
        run_id: its MLflow run, or None.
        tracking_uri: the store of that run; None is the default one.
        epsilon_charged: what the run has charged to the data in all, at the statement's delta, where that is
            more than the model's; resuming the run counts it. None where it is not.
    """

    source: str
    config: dict[str, Any]
    model: nn.Module
    in_shape: tuple[int, ...]
    statement: dict[str, Any]
    run_id: str | None
    tracking_uri: str | None
    epsilon_charged: float | None = None


def from_run(name: str, tracking_uri: str | None = None) -> SavedModel:
    """Load the final model of an MLflow run, or a registered model.

    The stored program is not executed: weights go into the model that the run's settings name.

    Args:
        name: a run id, or as for :func:`fedpriv.model_names.parse_model_name`.
        tracking_uri: the MLflow store; None is the default one.

    Raises:
        UserError: when the store has no such run or model, or the run no model of fedpriv's, or one whose
            weights are not finite.
    """
    from fedpriv.model_names import is_run_id, names_registered
    from fedpriv.tracking.model_loading import load_model
    from fedpriv.tracking.registry import find
    from fedpriv.tracking.run_reading import read_config

    try:
        found = find(tracking_uri, name)
    except UserError as error:
        if is_run_id(name) or names_registered(name):
            raise
        raise UserError(
            f"run_id={name[:80]!r}: is no run's id (32 hexadecimal digits), and {error}"
        ) from error
    read_config(tracking_uri, found.run_id)  # says best why a run is not fedpriv's
    loaded = load_model(tracking_uri, found.run_id, found.location)
    config = loaded.config  # whose digest is known: what was read before could have been exchanged since
    settings = restored(found.source, config)
    task = cast(Task, instantiate("task", settings.task, kind=Task))
    # as in training, where a task that asks for no number of outputs leaves it to the model
    asks = type(task).outputs is not Task.outputs and len(loaded.out_shape) == 1
    outputs = loaded.out_shape[0] if asks else None
    return SavedModel(
        found.source,
        config,
        rebuilt_model(found.source, settings.model, loaded.in_shape, outputs, loaded.weights),
        loaded.in_shape,
        loaded.statement,
        found.run_id,
        tracking_uri,
    )


def from_checkpoint(folder: Path) -> SavedModel:
    """Load the model after the last finished round of a run's output folder.

    The run's own data are needed, for its images and classes give the model its shape.

    Raises:
        UserError: when there is no checkpoint, it is damaged, its weights are not finite, or its data are
            not there or give another model.
    """
    record, snapshot = _read(Checkpoint(folder))
    config = restored(str(folder), record.config)
    model, training, statement = trained_model(folder, config, snapshot)
    if (name := not_finite({name: value.numpy() for name, value in model.state_dict().items()})) is not None:
        raise UserError(f"{folder}: its model holds NaN or infinite weights in {name}; choose another run")
    return SavedModel(
        str(folder),
        record.config,
        model.eval(),
        training.image_shape,
        statement,
        record.mlflow_run_id,
        record.tracking_uri,
        None if record.finished else _charged_beyond(statement["epsilon"], snapshot, config),
    )


def _read(checkpoint: Checkpoint) -> tuple[RunRecord, Snapshot]:
    try:
        return checkpoint.record(), checkpoint.load()
    except OSError as error:
        raise UserError(
            f"{error.filename or checkpoint.folder}: cannot be read ({error.strerror or error}); name the "
            "output folder of a run that you may read"
        ) from error


def _charged_beyond(epsilon: float | None, snapshot: Snapshot, config: RunConfig) -> float | None:
    """Return the largest epsilon that a party was charged, None if it is not above ``epsilon``."""
    settings, plan = build_privacy(config), sum_plan_of(config)
    if plan is not None:
        charged = spent_most(plan, releases(snapshot.history, snapshot.kept.lost_releases)).epsilon
    elif settings is not None:
        histories = {memory.history for memory in snapshot.kept.memories.values()}
        spent = (accounting.spent(history, settings.delta).epsilon for history in histories)
        charged = max(spent, default=0.0)
    else:
        return None
    # the accountant's arithmetic is good for a millionth
    return charged if charged > (epsilon or 0.0) * (1 + 1e-6) else None
