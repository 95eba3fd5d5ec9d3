"""The model that a checkpoint holds, and what its run promised on privacy."""

from pathlib import Path
from typing import Any

from torch import nn

from fedpriv.config.as_json import to_json
from fedpriv.config.datasets import build_data
from fedpriv.config.models import build_backbone
from fedpriv.config.privacy import relation_of, stated
from fedpriv.config.schema import PrivacyUnit, RunConfig
from fedpriv.data.dataset import ImageDataset
from fedpriv.errors import UserError
from fedpriv.snapshot import Snapshot
from fedpriv.training.parameters import FlatParameters


def trained_model(
    folder: Path, config: RunConfig, snapshot: Snapshot
) -> tuple[nn.Module, ImageDataset, dict[str, Any]]:
    """Put the model of a checkpoint together.

    The run's own data are needed, for its images and classes give the model its shape.

    Args:
        folder: the run's output folder, for messages.
        config: the run's, see :func:`fedpriv.config.saved.restored`.
        snapshot: the checkpoint's.

    Returns:
        The model after the last finished round; the images it was trained on; its privacy statement: unit,
        epsilon, delta, accountant, relation, data, noise, and noise_by at the level of clients.

    Raises:
        UserError: the data are not there, or give another model.
    """
    text = to_json(config)
    _, training, _ = build_data(text)
    model = build_backbone(text)
    parameters = FlatParameters(model)
    if parameters.layout.digest != snapshot.layout or len(snapshot.parameters) != parameters.layout.size:
        raise UserError(f"{folder}: its data now give another model than it holds; put the run's data back")
    parameters.load(snapshot.parameters)
    privacy, spent = config.privacy, stated(config, snapshot.history[-1])
    statement = {
        "unit": privacy.unit.value,
        "epsilon": None if spent is None else spent.epsilon,
        "delta": None if spent is None else spent.delta,
        "accountant": None if spent is None else spent.accountant,
        "relation": relation_of(config),
        "data": training.name,
        "noise": None if spent is None else privacy.noise.value,
    }
    if privacy.unit is PrivacyUnit.client:
        statement["noise_by"] = privacy.noise_by.value
    return model, training, statement
