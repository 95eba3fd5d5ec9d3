"""Whose updates the encryption benchmark sends: a model's layers, and clients with unequal weights."""

from collections.abc import Mapping
from math import prod

import numpy as np
from numpy.typing import NDArray

from experiments.bench import _sealed
from fedpriv.seeding import generator
from fedpriv.types import FloatVector

WIDTHS = (32, 64, 128)
Shapes = Mapping[str, tuple[int, ...]]


def layer_shapes() -> dict[str, tuple[int, ...]]:
    """Return name and shape of every trained tensor: three stages of three blocks of two convolutions."""
    shapes: dict[str, tuple[int, ...]] = {}

    def convolution(name: str, into: int, out: int, side: int) -> None:
        shapes[f"{name}.weight"] = (out, into, side, side)
        shapes[f"{name}.norm.weight"] = shapes[f"{name}.norm.bias"] = (out,)

    convolution("stem", 3, WIDTHS[0], 3)
    into = WIDTHS[0]
    for stage, out in enumerate(WIDTHS):
        for block in range(3):
            name = f"stage{stage + 1}.{block}"
            convolution(f"{name}.conv1", into, out, 3)
            convolution(f"{name}.conv2", out, out, 3)
            if into != out:
                convolution(f"{name}.shortcut", into, out, 1)
            into = out
    shapes["head.weight"], shapes["head.bias"] = (10, into), (10,)
    return shapes


class Cohort:
    """Everybody's update and weight, and what their sum has to be."""

    def __init__(self, shapes: Shapes, clients: int) -> None:
        self.steps = [20 + 3 * client for client in range(clients)]
        self.weights = [steps / max(self.steps) for steps in self.steps]
        length = sum(map(prod, shapes.values()))
        self.updates: list[FloatVector] = [
            generator(0, "bench he", client).normal(0.0, 0.01, length).astype(np.float32)
            for client in range(clients)
        ]
        self.total: NDArray[np.float64] = np.zeros(length)
        for update, weight in zip(self.updates, self.weights, strict=True):
            self.total += weight * update.astype(np.float64)
        self.step = _sealed.VALUE_RANGE / (2 ** (_sealed.BITS - 1) - 1)
        self.integers = _sealed.integer_sum(
            self.updates, self.weights, [self.rounding(client) for client in range(clients)]
        )
        self._ends = np.cumsum([0, *map(prod, shapes.values())])
        self._shapes = shapes

    def rounding(self, client: int) -> np.random.Generator:
        """Return the generator that rounds a client's update, from its start."""
        return generator(0, "bench he rounding", client)

    def layers(self, client: int) -> dict[str, FloatVector]:
        """Return an update as views by layer."""
        update, ends = self.updates[client], self._ends
        return {
            name: update[ends[index] : ends[index + 1]].reshape(shape)
            for index, (name, shape) in enumerate(self._shapes.items())
        }

    def error(self, total: NDArray[np.float64]) -> float:
        """Return the largest distance to the weighted sum in float64."""
        return float(np.abs(total - self.total).max())
