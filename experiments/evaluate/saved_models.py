"""A trained model read back with what is known about it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from fedpriv.config.builders import build_backbone, build_data, to_json
from fedpriv.config.saved import restored
from fedpriv.errors import UserError


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
    """

    source: str
    config: dict[str, Any]
    model: nn.Module
    in_shape: tuple[int, ...]
    statement: dict[str, Any]
    run_id: str | None
    tracking_uri: str | None


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
    from fedpriv.checkpoint import Checkpoint
    from fedpriv.training.parameters import FlatParameters

    checkpoint = Checkpoint(folder)
    record, snapshot = checkpoint.record(), checkpoint.load()
    text = to_json(restored(str(folder), record.config))
    _, training, _ = build_data(text)
    model = build_backbone(text)
    parameters = FlatParameters(model)
    if parameters.layout.digest != snapshot.layout or len(snapshot.parameters) != parameters.layout.size:
        raise UserError(f"{folder}: its data now give another model than it holds; put the run's data back")
    parameters.load(snapshot.parameters)
    privacy = record.config.get("privacy") or {}
    unit = privacy.get("unit", "none")
    last = snapshot.history[-1]
    statement = {
        "unit": unit,
        "epsilon": last.epsilon,
        "delta": last.delta,
        "data": training.name,
        "noise": None if unit == "none" else privacy.get("noise"),
    }
    return SavedModel(
        str(folder),
        record.config,
        model.eval(),
        training.image_shape,
        statement,
        record.mlflow_run_id,
        record.tracking_uri,
    )
