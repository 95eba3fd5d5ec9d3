"""FedAvg with Adam on the clients, without any of fedpriv's machinery."""

import copy

import numpy as np
import torch
from torch import nn

from fedpriv.data.dataset import ImageDataset
from fedpriv.seeding import generator
from fedpriv.tasks.augment import drawn_by
from fedpriv.tasks.base import Task


def federate(
    task: Task,
    backbone: nn.Module,
    training: ImageDataset,
    clients: int,
    rounds: int,
    steps: int,
    rate: float = 3e-3,
    batch: int = 16,
    seed: int = 0,
) -> nn.Module:
    """Train ``backbone``: whole people per client, at most ``steps`` batches per round, a cosine schedule."""
    random, draw = generator(seed, "test"), drawn_by(torch.Generator().manual_seed(seed))
    parts = []
    for people in np.array_split(random.permutation(np.unique(training.subjects)), clients):
        part = training.of_subjects(people)
        inputs = task.preprocess(torch.from_numpy(np.array(part.images)))
        parts.append((inputs, task.client_targets(part), task.build_head(part, backbone.features)))
    for number in range(rounds):
        models = [copy.deepcopy(backbone) for _ in parts]
        for model, (inputs, targets, head) in zip(models, parts, strict=True):
            current = rate * (1 + np.cos(np.pi * number / rounds)) / 2
            optimizer = torch.optim.Adam(model.parameters(), lr=current)
            order = torch.from_numpy(random.permutation(len(inputs)))
            for chosen in order.split(batch)[:steps]:
                outputs = model(task.augment(inputs[chosen], draw))
                loss = task.loss(outputs if head is None else head(outputs), targets[chosen])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        with torch.no_grad():
            for shared, *own in zip(backbone.parameters(), *(m.parameters() for m in models), strict=True):
                shared.copy_(torch.stack(own).mean(dim=0))
    return backbone
