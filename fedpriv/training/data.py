"""The examples that one party trains on: in memory where they fit, else read batch by batch."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fedpriv.data.dataset import ImageDataset
from fedpriv.data.rows import ImageRows
from fedpriv.privacy.example_set import ExampleSet, of_digests, of_images
from fedpriv.tasks.base import Task
from fedpriv.types import ByteImages

MOST_BYTES = 1 << 30
"""Images that are held in memory for training; a process reads what goes beyond from their file."""


@dataclass(frozen=True)
class ClientData:
    """Training examples: images (N, C, H, W) uint8 and targets (N, ...).

    ``images`` is a tensor, or an array (usually a memory map) of which only batches are copied.
    """

    images: Tensor | ByteImages | ImageRows
    targets: Tensor

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self.images)

    def batch(self, chosen: Tensor) -> Tensor:
        """Return the images at the indices ``chosen``, (B, C, H, W) uint8."""
        if isinstance(self.images, Tensor):
            return self.images[chosen]
        return torch.from_numpy(np.asarray(self.images[chosen.numpy()]))

    @property
    def bytes_held(self) -> int:
        """Memory that is taken as long as this object lives."""
        images = self.images.nbytes if isinstance(self.images, Tensor) else 0
        return images + self.targets.nbytes


def examples_of(dataset: ImageDataset) -> ExampleSet:
    """Return what identifies a party's images in a privacy ledger, whatever they are called.

    What they were made from where their loader tells it, else their pixels.
    """
    if dataset.origins is not None:
        return of_digests(np.ravel(dataset.origins))
    return of_images(dataset.images)


def client_data(task: Task, dataset: ImageDataset, most_bytes: int = MOST_BYTES) -> ClientData:
    """Return what a party trains on.

    Args:
        task: names the targets.
        dataset: the party's images.
        most_bytes: images of more bytes are left where they are and read batch by batch.
    """
    held = dataset.images.nbytes <= most_bytes
    return ClientData(
        images=torch.from_numpy(np.array(dataset.images)) if held else dataset.images,
        targets=task.client_targets(dataset),
    )
