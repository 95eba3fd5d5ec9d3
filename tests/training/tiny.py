"""The smallest task there is: regression on flattened pixels, for tests of optimisation."""

import torch
from torch import nn

from fedpriv.tasks.base import Task
from fedpriv.tasks.classification import ClassificationTask
from fedpriv.training.data import ClientData


class TinyTask(ClassificationTask):
    """Half the mean squared error of one output; also records what it is asked to preprocess."""

    def __init__(self):
        self.seen = []

    def preprocess(self, images):
        self.seen.append(images[:, 0, 0, 0].clone())
        return super().preprocess(images)

    def loss(self, outputs, targets):
        return 0.5 * ((outputs[:, 0] - targets) ** 2).mean()


def linear(features: int = 12) -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Flatten(), nn.Linear(features, 1))


def convolutional() -> nn.Module:
    torch.manual_seed(2)
    return nn.Sequential(
        nn.Conv2d(3, 4, 1),
        nn.GroupNorm(2, 4),
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(16, 3),
        nn.Tanh(),
        nn.Linear(3, 1),
    )


def examples(count: int) -> ClientData:
    """Images (count, 3, 2, 2) whose first byte is their number."""
    random = torch.Generator().manual_seed(3)
    images = torch.randint(0, 256, (count, 3, 2, 2), generator=random, dtype=torch.uint8)
    images[:, 0, 0, 0] = torch.arange(count, dtype=torch.uint8)
    return ClientData(images=images, targets=torch.randn(count, generator=random))


def inputs(data: ClientData) -> torch.Tensor:
    return Task.preprocess(TinyTask(), data.images)


def flat(module: nn.Module) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in module.parameters()])
