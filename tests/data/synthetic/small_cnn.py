"""A small convolutional network, trained in a test to show what the data allow."""

from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

SHIFT = 2
"""Pixels by which training pictures are moved at random."""


def standardised(images):
    """Each channel of each picture (N, C, H, W) with mean 0 and about unit deviation: float32."""
    pixels = images.astype(np.float32) / 255
    mean, spread = pixels.mean(axis=(2, 3), keepdims=True), pixels.std(axis=(2, 3), keepdims=True)
    return (pixels - mean) / (spread + 0.05)


def network(shape, widths, strides, outputs):
    """Build 3 x 3 convolutions with GroupNorm, then one hidden layer where ``outputs`` is a pair.

    Pooling comes before the normalisation and channels come last in memory: less than half the time.
    """
    layers, channels = [], shape[0]
    for width, stride in zip(widths, strides, strict=True):
        layers += [nn.Conv2d(channels, width, 3, 1, 1, bias=False)]
        layers += [nn.MaxPool2d(2, ceil_mode=True)] if stride == 2 else []
        layers += [nn.GroupNorm(4, width), nn.ReLU()]
        channels = width
    body = nn.Sequential(*layers, nn.Flatten(), nn.Dropout(0.3))
    size = body(torch.zeros(1, *shape)).shape[1]
    head = [nn.Linear(size, outputs[0])]
    for before, after in pairwise(outputs):
        head += [nn.ReLU(), nn.Linear(before, after)]
    return nn.Sequential(body, *head).to(memory_format=torch.channels_last)


def train(model, images, targets, epochs, rate, loss, parameters=(), flip=True, batch=32):
    """Minimise ``loss(model(pictures), targets, share of the training that is over)`` by AdamW, one cycle."""
    pictures = torch.from_numpy(images).contiguous(memory_format=torch.channels_last)
    classes = torch.from_numpy(targets)
    steps = len(images) // batch
    optimiser = torch.optim.AdamW([*model.parameters(), *parameters], lr=rate, weight_decay=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=epochs * steps)
    model.train()
    for step in range(epochs * steps):
        if step % steps == 0:
            order = torch.randperm(len(images))
        rows = order[step % steps * batch :][:batch]
        chosen = pictures[rows]
        if flip and torch.rand(()) < 0.5:
            chosen = chosen.flip(3)
        moves = torch.randint(-SHIFT, SHIFT + 1, (2,)).tolist()
        chosen = torch.roll(chosen, moves, (2, 3))
        optimiser.zero_grad()
        loss(model(chosen), classes[rows], step / (epochs * steps)).backward()
        optimiser.step()
        schedule.step()
    model.eval()
    return model


def outputs(model, images):
    """Return the model's outputs for pictures (N, C, H, W), as an array."""
    with torch.no_grad():
        return torch.cat([model(part) for part in torch.from_numpy(images).split(128)]).numpy()


def cosine_margin(weights, margin=0.2, scale=16.0, warm=0.33):
    """Return CosFace's loss (Wang et al. 2018, arXiv 1801.09414); the margin sets in after ``warm``."""

    def loss(embeddings, classes, progress):
        cosine = F.normalize(embeddings) @ F.normalize(weights).T
        penalty = margin * (progress > warm) * F.one_hot(classes, len(weights))
        return F.cross_entropy(scale * (cosine - penalty), classes)

    return loss
