"""A trained model as a server uses it: images in, answers out, the same whatever comes beside them."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fedpriv.arrays import not_finite
from fedpriv.data.emotions import EMOTIONS
from fedpriv.errors import UserError
from fedpriv.serving.answers import PROBABILITY_DECIMALS, Emotion, Gaze, bounded
from fedpriv.serving.pooling import with_quick_pools
from fedpriv.tasks.base import Task

OUTPUTS = {"gaze": 2, "emotion": len(EMOTIONS)}
"""Numbers per image that a model of each kind returns."""

_TOGETHER = 8
"""Images inferred at once: more fall out of a core's cache and are slower."""
_MOST_MODEL_SIDE = 512


@dataclass(frozen=True)
class Origin:
    """Where a served model is from and what is known about it.

    Attributes:
        source: where it was read, for messages.
        data: name of the data that it was trained on; "" where it is not known.
        statement: what its run promised on privacy: unit, epsilon, delta, data, noise.
        notes: facts of a weights file: command, metric, version.
    """

    source: str
    data: str
    statement: Mapping[str, Any]
    notes: Mapping[str, Any]


class ServedModel:
    """A gaze or emotion model in evaluation mode.

    Guarantee:
        - An answer does not depend on the images inferred beside it: arithmetic is float64, where
          batches of different sizes differ by about 1e-15, and answers are rounded to 1e-6 rad and 1e-4. A
          value would have to lie within 1e-15 of the middle between two roundings to tell them apart,
          which one in about 1e9 does. The same goes for threads and processors.
        - :attr:`digest` is that of what decides an answer; two places that name the same digest serve the
          same model.
        - Whoever wrote the weights cannot run code here: they are numbers that must fit a model
          which the settings name, and the settings can name fedpriv's own models only.

    Attributes:
        kind: ``gaze`` or ``emotion``.
        task: whose preprocessing it was trained with.
        in_shape: (1, H, W) of an image.
        settings: ``_target_`` and arguments of the model, as in ``configs/model``.
        digest: SHA-256 of kind, shape, settings and float32 weights, 64 hexadecimal digits.
        origin: where it is from.
    """

    def __init__(
        self,
        task: Task,
        settings: Mapping[str, Any],
        in_shape: Sequence[int],
        module: nn.Module,
        origin: Origin,
    ) -> None:
        """Take over a model in float32; the module itself is changed.

        Args:
            task: whose preprocessing the model was trained with.
            settings: see the class.
            in_shape: (C, H, W) that ``module`` takes.
            module: maps (B, C, H, W) to (B, 2) or (B, 7) and has all of its state in parameters.
            origin: where it is from.

        Raises:
            UserError: the task is another, the images are in colour or too large, or weights are not finite.
        """
        self.kind = kind_of(task, origin.source)
        self.in_shape = checked_shape(in_shape, origin.source)
        self.settings, self.origin = dict(settings), origin
        self.weights = {
            name: np.array(value.detach().numpy(), dtype=np.float32)
            for name, value in module.named_parameters()
        }
        if (name := not_finite(self.weights)) is not None:
            raise UserError(
                f"{origin.source}: its model holds NaN or infinite weights in {name}; choose another run"
            )
        self.digest = self._digest()
        self.task = task
        self._module = with_quick_pools(module.double().eval().requires_grad_(requires_grad=False))

    def predict(self, images: NDArray[np.uint8]) -> list[Gaze | Emotion]:
        """Return one answer for each of (B, H, W) uint8 images of this model's size; B may be 0."""
        outputs, name = self.outputs(images), self.digest[:16]
        if self.kind == "gaze":
            return [Gaze(bounded(float(pitch)), bounded(float(yaw)), name) for pitch, yaw in outputs]
        shares = np.exp(outputs - outputs.max(axis=1, keepdims=True))
        shares = np.round(shares / shares.sum(axis=1, keepdims=True), PROBABILITY_DECIMALS)
        return [
            Emotion(EMOTIONS[int(row.argmax())], tuple(share.tolist()), name)
            for row, share in zip(outputs, shares, strict=True)
        ]

    def outputs(self, images: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Return what the model says, not rounded: (B, H, W) uint8 to (B, 2) radians or (B, 7) logits.

        Raises:
            ValueError: the images are of another type or size.
        """
        _, height, width = self.in_shape
        if images.dtype != np.uint8 or images.shape[1:] != (height, width):
            raise ValueError(f"images: need uint8 (B, {height}, {width}), got {images.dtype} {images.shape}")
        found = np.zeros((len(images), OUTPUTS[self.kind]))
        with torch.inference_mode():
            for start in range(0, len(images), _TOGETHER):
                stop = start + _TOGETHER
                part = torch.from_numpy(np.array(images[start:stop, None]))
                said: Tensor = self._module(self.task.preprocess(part).double())
                found[start:stop] = said.numpy()
        return found

    def _digest(self) -> str:
        """Hash what decides an answer; the classes stand for the order of the outputs."""
        facts = {
            "kind": self.kind,
            "in_shape": self.in_shape,
            "settings": self.settings,
            "classes": EMOTIONS if self.kind == "emotion" else (),
            "weights": [(name, value.shape) for name, value in sorted(self.weights.items())],
        }
        digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
        for _, value in sorted(self.weights.items()):
            digest.update(value.astype("<f4").tobytes())
        return digest.hexdigest()


def kind_of(task: Task, source: str) -> str:
    """Return what a task's models are asked for.

    Raises:
        UserError: it is neither gaze nor emotion.
    """
    if task.served_as is not None:
        return task.served_as
    raise UserError(
        f"{source}: its task is {type(task).__name__}; gaze and emotion are served, so choose a run of either"
    )


def checked_shape(in_shape: Sequence[int], source: str) -> tuple[int, int, int]:
    """Return (1, H, W), or refuse.

    Raises:
        UserError: the images are in colour, too large, or have no shape.
    """
    if len(in_shape) != 3 or not all(0 < side <= _MOST_MODEL_SIDE for side in in_shape):
        raise UserError(f"{source}: its model takes images of {tuple(in_shape)}; choose one for small images")
    channels, height, width = in_shape
    if channels != 1:
        raise UserError(
            f"{source}: its model takes {channels} channels, served are grey images; use data.colour=False"
        )
    return 1, height, width
