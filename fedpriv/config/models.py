"""From a configuration to the model, alike on every node."""

from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fedpriv.config.as_json import from_json
from fedpriv.config.datasets import build_data
from fedpriv.config.instantiate import instantiate
from fedpriv.errors import UserError
from fedpriv.seeding import derive
from fedpriv.tasks.base import Task
from fedpriv.training.parameters import FlatParameters, ParameterLayout


def build_backbone(text: str) -> nn.Module:
    """Return the model with the initial parameters that the run's seed gives, alike on every node."""
    config = from_json(text)
    task, training, _ = build_data(text)
    task.check(training)
    given: dict[str, Any] = {"in_shape": training.image_shape}
    if (outputs := task.outputs(training)) is not None:
        given["outputs"] = outputs
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(config.seed, "model") % 2**63)
        return cast(nn.Module, instantiate("model", config.model, kind=nn.Module, **given))


def build_largest_head(text: str, shares: list[NDArray[np.int64]]) -> None:
    """Build, and drop, the private head of the client with most people.

    Raises:
        UserError: when the task cannot.
    """
    task, training, _ = build_data(text)
    if type(task).build_head is Task.build_head:
        return
    largest = max(shares, key=lambda share: len(np.unique(training.subjects[share])))
    with torch.random.fork_rng(devices=[]):
        task.build_head(training.subset(largest), int(getattr(build_backbone(text), "features", 0)))


def layout_of(text: str) -> ParameterLayout:
    """Return the layout of the federated parameters.

    Raises:
        UserError: when the model has what cannot be averaged.
    """
    try:
        return FlatParameters(build_backbone(text)).layout
    except ValueError as error:
        raise UserError(f"model._target_={from_json(text).model['_target_']}: {error}") from error
