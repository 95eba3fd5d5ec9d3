"""After the last round: every client makes the final model its own, and judges it on its own people.

Fine-tuning is the baseline that methods of personalised federated learning have to beat (Wang et al. 2019,
arXiv 1910.10252); of the last layer alone as in FedPer (Arivazhagan et al. 2019, arXiv 1912.00818).
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import nn

from fedpriv.data.dataset import ImageDataset
from fedpriv.errors import UserError
from fedpriv.seeding import derive
from fedpriv.tasks.base import Task
from fedpriv.training.data import client_data
from fedpriv.training.local import LocalSettings, train_plain
from fedpriv.training.parameters import FlatParameters
from fedpriv.types import FloatVector, Metrics

log = logging.getLogger("fedpriv")


@dataclass
class Personalisation:
    """What every client does with the final model, and what comes of it.

    Guarantee:
        - No image that judges was trained on by anybody: the run's clients train on the first part of
          ``own`` alone.
        - Nothing is released: models that were made a client's own are judged and forgotten. Only the
          figures of :meth:`judge` leave it, which no epsilon covers; the fine-tuning adds no noise.

    Attributes:
        seed: the run's; determines batches and augmentation.
        task: what is learned; one without a private head.
        training: images of all people to train on.
        own: for each client, indices of its images to train on and of those that judge.
        backbone: the model; its parameters are overwritten.
        local: how it is fine-tuned, ``local_epochs`` passes.
        layers: ``all``, or ``head`` for the last layer alone.

    Raises:
        UserError: when the task has a private head, or the model no layer but one.
    """

    seed: int
    task: Task
    training: ImageDataset
    own: list[tuple[NDArray[np.int64], NDArray[np.int64]]]
    backbone: nn.Module
    local: LocalSettings
    layers: str = "all"

    def __post_init__(self) -> None:
        """Freeze what is not fine-tuned."""
        if type(self.task).build_head is not Task.build_head:
            raise UserError(
                f"evaluation.personalise.enabled=true: {type(self.task).__name__} is judged by pairs of "
                "people, not on one client's; set it to false"
            )
        self._parameters = FlatParameters(self.backbone)
        if self.layers == "head":
            for parameter in self.backbone.parameters():
                parameter.requires_grad_(False)
            for parameter in last_layer(self.backbone).parameters():
                parameter.requires_grad_(True)

    def judge(self, start: Callable[[int], FloatVector]) -> Metrics:
        """Fine-tune and judge for every client.

        Args:
            start: the model that client k begins with, (P,): the federation's for all, or its own.

        Returns:
            Means over clients, each counting alike: ``personal_before_<metric>`` of the model as it was and
            ``personal_after_<metric>`` of the client's own, for every metric of the task that every client
            could measure; ``personal_improved``, the share of clients whose own is better.

        Raises:
            UserError: when fine-tuning diverges.
        """
        log.info("personalisation: %d clients make the final model their own", len(self.own))
        before, after = [], []
        for client, (train, held_out) in enumerate(self.own):
            judges = self.training.subset(held_out)
            self._parameters.load(start(client))
            before.append(self.task.evaluate(self.backbone, judges))
            self.adapt(client, train)
            after.append(self.task.evaluate(self.backbone, judges))
        spec = self.task.metric
        sense = -1.0 if spec.lower_is_better else 1.0
        gains = [
            sense * (own[spec.name] - given[spec.name]) for given, own in zip(before, after, strict=True)
        ]
        return {
            **_means("personal_before_", before),
            **_means("personal_after_", after),
            "personal_improved": float(np.mean([gain > 0 for gain in gains])),
        }

    def adapt(self, client: int, train: NDArray[np.int64]) -> None:
        """Fine-tune the model in place on a client's images, by their indices.

        Raises:
            UserError: when it diverges.
        """
        data = client_data(self.task, self.training.subset(train))
        train_plain(
            self.task, self.backbone, None, data, self.local, derive(self.seed, "personalise", client)
        )
        if not np.isfinite(self._parameters.read()).all():
            raise UserError(
                f"client {client}: its own model is not finite; lower evaluation.personalise.learning_rate"
            )


def last_layer(model: nn.Module) -> nn.Module:
    """Return the module with parameters of its own that ``model`` names last: what makes the outputs.

    Raises:
        UserError: when it is the only one, so that nothing would be shared.
    """
    owners = [module for module in model.modules() if list(module.parameters(recurse=False))]
    if len(owners) < 2:
        raise UserError("evaluation.personalise.layers=head: the model has a single layer; choose all")
    return owners[-1]


def _means(prefix: str, measured: list[Metrics]) -> Metrics:
    """Return the means of what all clients could measure."""
    names = [name for name in measured[0] if all(name in each for each in measured)]
    return {f"{prefix}{name}": float(np.mean([each[name] for each in measured])) for name in names}
