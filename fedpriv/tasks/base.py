"""What a task is: the binding of a dataset, a model, a loss and a metric.

Adding a task costs one file here and one YAML in ``configs/task``.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from fedpriv.data.dataset import ImageDataset
from fedpriv.errors import UserError
from fedpriv.tasks.augment import Draw
from fedpriv.types import AnyArray, Metrics


@dataclass(frozen=True)
class MetricSpec:
    """The metric a task is judged by.

    Attributes:
        name: key in the dictionary that :meth:`Task.evaluate` returns.
        label: for people, with its unit, e.g. ``angular error (deg)``.
        lower_is_better: the sense of improvement.
    """

    name: str
    label: str
    lower_is_better: bool


class Task(ABC):
    """A learning problem on images of people.

    The model is split in two: the *backbone*, whose parameters are federated, and an optional
    *head* that stays with its client (see :meth:`build_head`). All methods are free of state.
    """

    metric: MetricSpec
    baseline_label: str
    """What :meth:`baseline` stands for, e.g. ``mean predictor``."""
    served_as: str | None = None
    """What a model server is asked for to get this task's answers, or None: its models are not served."""

    def check(self, dataset: ImageDataset) -> None:
        """Refuse a data set whose targets this task cannot learn; class indices by default.

        Raises:
            UserError: when targets are not one integer per image.
        """
        if dataset.targets.ndim != 1 or dataset.targets.dtype.kind not in "iu":
            raise UserError(
                f"data={dataset.name}: {type(self).__name__} needs one class per image, its targets are "
                f"{dataset.targets.dtype} {dataset.targets.shape[1:]}; choose another data or task"
            )

    def outputs(self, training: ImageDataset) -> int | None:
        """Return how many numbers the backbone must return per image; None leaves it to the model."""
        del training
        return None

    def preprocess(self, images: Tensor) -> Tensor:
        """Map uint8 (B, C, H, W) to float32 in [-1, 1]: (x / 255 - 0.5) / 0.5."""
        return images.to(torch.float32).div_(127.5).sub_(1.0)

    def augment(self, inputs: Tensor, draw: Draw) -> Tensor:
        """Return randomly changed inputs (B, C, H, W) for training; the identity by default.

        The result for an example must depend on that example and on its own column of draws only: with
        privacy, no other randomness may be used, and nothing of the other examples or of their number.
        DP-SGD's bound on what one example changes rests on it.

        Args:
            inputs: preprocessed images.
            draw: ``draw(numbers, B)`` returns uniform numbers, one column for each example.
        """
        del draw
        return inputs

    def client_targets(self, dataset: ImageDataset) -> Tensor:
        """Return one client's training targets, shape (N, ...); may renumber classes locally."""
        return torch.from_numpy(np.ascontiguousarray(dataset.targets))

    def build_head(self, dataset: ImageDataset, features: int) -> nn.Module | None:
        """Return the part of the model that never leaves its client, or None.

        Args:
            dataset: the client's images.
            features: width of the backbone's output.
        """
        del dataset, features
        return None

    @abstractmethod
    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the scalar mean loss of a batch of head (or backbone) outputs."""

    @abstractmethod
    def evaluate(self, backbone: nn.Module, dataset: ImageDataset) -> Metrics:
        """Measure the backbone on images of unseen people. Must contain ``metric.name``."""

    @abstractmethod
    def baseline(self, training: ImageDataset, test: ImageDataset) -> Metrics:
        """Measure, under the same names, what needs no learning (e.g. predicting the mean)."""

    def example(self, dataset: ImageDataset) -> AnyArray:
        """Return one preprocessed image, (1, C, H, W) float32: what the model is fed."""
        images = torch.from_numpy(np.array(dataset.images[:1]))
        return np.asarray(self.preprocess(images).numpy())

    @abstractmethod
    def draw(self, backbone: nn.Module, dataset: ImageDataset, count: int, seed: int) -> Image.Image:
        """Draw predictions on ``count`` images of ``dataset``, chosen by ``seed``, as one picture."""
