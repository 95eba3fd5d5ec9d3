"""A trained model read back with what is known about it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from fedpriv.checkpoint import Checkpoint, RunRecord
from fedpriv.config.as_json import to_json
from fedpriv.config.datasets import build_data
from fedpriv.config.models import build_backbone
from fedpriv.config.privacy import build_privacy, relation_of, sum_plan_of
from fedpriv.config.saved import restored
from fedpriv.errors import UserError
from fedpriv.federated.strategy.books import releases, spent_most
from fedpriv.privacy import accounting
from fedpriv.privacy.plan import PrivacySettings
from fedpriv.privacy.sum_plan import SumPlan
from fedpriv.snapshot import Snapshot
from fedpriv.training.parameters import FlatParameters


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


def from_run(run_id: str, tracking_uri: str | None = None) -> SavedModel:
    """Load the final model of an MLflow run.

    Raises:
        UserError: when the store has no such run, or the run no model of fedpriv's.
    """
    from fedpriv.tracking.model_loading import load_model
    from fedpriv.tracking.run_reading import read_config

    config = read_config(tracking_uri, run_id)
    loaded = load_model(tracking_uri, run_id)
    return SavedModel(
        f"run_id={run_id}",
        config,
        loaded.model,
        loaded.in_shape,
        loaded.statement,
        run_id,
        tracking_uri,
    )


def from_checkpoint(folder: Path) -> SavedModel:
    """Load the model after the last finished round of a run's output folder.

    The run's own data are needed, for its images and classes give the model its shape.

    Raises:
        UserError: when there is no checkpoint, it is damaged, or its data are not there or give
            another model.
    """
    record, snapshot = _read(Checkpoint(folder))
    config = restored(str(folder), record.config)
    text, settings, plan = to_json(config), build_privacy(config), sum_plan_of(config)
    _, training, _ = build_data(text)
    model = build_backbone(text)
    parameters = FlatParameters(model)
    if parameters.layout.digest != snapshot.layout or len(snapshot.parameters) != parameters.layout.size:
        raise UserError(f"{folder}: its data now give another model than it holds; put the run's data back")
    parameters.load(snapshot.parameters)
    # before round 1 the model is as the seed made it: no image has touched it
    private = settings is not None or plan is not None
    untouched = private and snapshot.history[-1].number == 0
    epsilon = 0.0 if untouched else snapshot.history[-1].epsilon
    statement = {
        "unit": config.privacy.unit.value,
        "epsilon": epsilon,
        "delta": config.privacy.delta if private else None,
        "accountant": "zcdp" if plan is not None else snapshot.history[-1].accountant,
        "relation": relation_of(config),
        "data": training.name,
        "noise": config.privacy.noise.value if private else None,
    }
    if plan is not None:
        statement["noise_by"] = config.privacy.noise_by.value
    return SavedModel(
        str(folder),
        record.config,
        model.eval(),
        training.image_shape,
        statement,
        record.mlflow_run_id,
        record.tracking_uri,
        None if record.finished else _charged_beyond(epsilon, snapshot, settings, plan),
    )


def _read(checkpoint: Checkpoint) -> tuple[RunRecord, Snapshot]:
    try:
        return checkpoint.record(), checkpoint.load()
    except OSError as error:
        raise UserError(
            f"{error.filename or checkpoint.folder}: cannot be read ({error.strerror or error}); name the "
            "output folder of a run that you may read"
        ) from error


def _charged_beyond(
    epsilon: float | None, snapshot: Snapshot, settings: PrivacySettings | None, plan: SumPlan | None
) -> float | None:
    """Return the largest epsilon that a party was charged, None if it is not above ``epsilon``."""
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
