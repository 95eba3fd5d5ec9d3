"""Canary examples: rows of a training set that an audit of DP-SGD looks for in what was released.

Two kinds. A *gradient canary* is an example whose gradient is one coordinate, ten times the clipping norm
long: the Dirac canary of Nasr et al. 2023 (arXiv 2302.07956), seen by whoever sees updates. It gets there
through a layer, so that sampling, per-example gradients, clipping and noise treat it like any example. An
*image canary* is a picture with a wrong label, judged by its loss under the final model.

A canary that its coin leaves out has a gradient of zero. In a sum over a Poisson sample that is the
same as its absence, and sample rate and divisor are what they were.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from fedpriv.data.dataset import ImageDataset
from fedpriv.privacy.canaries import LOUDNESS
from fedpriv.tasks.augment import Draw
from fedpriv.tasks.base import Task
from fedpriv.training.data import ClientData
from fedpriv.types import Metrics


class ListeningModel(nn.Module):
    """A model with one more parameter for each gradient canary, which no real example's loss reaches.

    Input (B, C, H, W); output (B, outputs + m): the model's, then the m parameters, alike for every image.
    """

    def __init__(self, model: nn.Module, canaries: int) -> None:
        """Add ``canaries`` parameters, zero at first."""
        super().__init__()
        self.model = model
        self.canaries = nn.Linear(1, canaries, bias=False)
        nn.init.zeros_(self.canaries.weight)

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, outputs + m)."""
        return torch.cat([self.model(images), self.canaries(images.new_ones(len(images), 1))], dim=1)

    def heard(self) -> NDArray[np.float64]:
        """Return the canaries' parameters as they are now, (m,)."""
        return np.asarray(self.canaries.weight.detach().numpy()[:, 0], np.float64).copy()


class CanaryTask(Task):
    """A task some of whose examples are canaries; its targets are row numbers.

    Rows below ``len(targets)`` have the task's own loss, where their coin allows it; the rows after them
    are gradient canaries. Every example has its own loss, and the batch's is their mean, so per-example
    gradients are those of a batch without canaries.

    Args:
        task: what is learned.
        targets: (n, ...) of real examples, and of image canaries.
        used: (n,) which of them count; False is an image canary that is out.
        included: (m,) coins of the gradient canaries, which follow in the order of
            :class:`ListeningModel`.
        norm: length of a gradient canary before clipping.
    """

    def __init__(
        self,
        task: Task,
        targets: Tensor,
        used: NDArray[np.bool_],
        included: NDArray[np.bool_],
        norm: float,
    ) -> None:
        """Wrap ``task``."""
        self.metric, self.baseline_label = task.metric, task.baseline_label
        self._task, self._targets, self._norm = task, targets, norm
        self._used, self._included = torch.from_numpy(used), torch.from_numpy(included)

    def preprocess(self, images: Tensor) -> Tensor:
        """Preprocess as the task does."""
        return self._task.preprocess(images)

    def augment(self, inputs: Tensor, draw: Draw) -> Tensor:
        """Augment as the task does."""
        return self._task.augment(inputs, draw)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss over the batch.

        Args:
            outputs: (B, outputs + m).
            targets: (B,) row numbers, int64.
        """
        count = len(self._targets)
        own, marks = outputs.split([outputs.shape[1] - len(self._included), len(self._included)], dim=1)
        plain = torch.nonzero(targets < count).flatten()
        plain = plain[self._used[targets[plain]]]
        total = outputs.sum() * 0.0  # a batch of canaries that are out still has a backward pass
        if len(plain):
            total = total + len(plain) * self._task.loss(own[plain], self._targets[targets[plain]])
        loud = torch.nonzero(targets >= count).flatten()
        loud = loud[self._included[targets[loud] - count]]
        if len(loud):
            # downhill is up: what is released rises along the canary
            total = total - self._norm * marks[loud, targets[loud] - count].sum()
        return total / len(outputs)

    def evaluate(self, backbone: nn.Module, dataset: ImageDataset) -> Metrics:
        """Measure as the task does, a model without canaries."""
        return self._task.evaluate(backbone, dataset)

    def baseline(self, training: ImageDataset, test: ImageDataset) -> Metrics:
        """Measure as the task does."""
        return self._task.baseline(training, test)

    def draw(self, backbone: nn.Module, dataset: ImageDataset, count: int, seed: int) -> Image.Image:
        """Draw as the task does."""
        return self._task.draw(backbone, dataset, count, seed)


def with_gradient_canaries(
    task: Task, data: ClientData, included: NDArray[np.bool_], clipping_norm: float
) -> tuple[CanaryTask, ClientData]:
    """Append m gradient canaries to a party's examples; their pictures are black.

    Args:
        task: what is learned, by a :class:`ListeningModel` with m canaries.
        data: (n, C, H, W), in memory.
        included: (m,) the coins.
        clipping_norm: C; canaries are :data:`~fedpriv.privacy.canaries.LOUDNESS` times as long.
    """
    images = torch.as_tensor(np.asarray(data.images))
    black = images.new_zeros((len(included), *images.shape[1:]))
    everyone = np.ones(len(data), np.bool_)
    wrapped = CanaryTask(task, data.targets, everyone, included, LOUDNESS * clipping_norm)
    rows = torch.arange(len(data) + len(included))
    return wrapped, ClientData(torch.cat([images, black]), rows)


def with_image_canaries(
    task: Task, data: ClientData, canaries: ClientData, included: NDArray[np.bool_]
) -> tuple[CanaryTask, ClientData]:
    """Append image canaries to a party's examples.

    Args:
        task: what is learned.
        data: (n, C, H, W), in memory.
        canaries: m pictures of the same shape with the labels they are to be learned by.
        included: (m,) the coins.
    """
    images = torch.cat([torch.as_tensor(np.asarray(part.images)) for part in (data, canaries)])
    targets = torch.cat([data.targets, canaries.targets])
    used = np.concatenate([np.ones(len(data), np.bool_), included])
    wrapped = CanaryTask(task, targets, used, np.zeros(0, np.bool_), 0.0)
    return wrapped, ClientData(images, torch.arange(len(images)))


@torch.no_grad()
def losses_of(task: Task, model: nn.Module, data: ClientData) -> NDArray[np.float64]:
    """Return the loss of each example by itself, (N,); the model's mode is left as found."""
    training = model.training
    model.eval()
    found = []
    for part in torch.arange(len(data)).split(256):
        outputs = model(task.preprocess(data.batch(part)))
        targets = data.targets[part]
        found += [float(task.loss(outputs[i : i + 1], targets[i : i + 1])) for i in range(len(part))]
    model.train(training)
    return np.array(found)
