"""Shuffled images, whoever they show: the easy case to compare with."""

import numpy as np
from numpy.typing import NDArray

from fedpriv.data.dataset import ImageDataset
from fedpriv.data.partition.assign import require_images, shares_of
from fedpriv.seeding import generator


def iid(dataset: ImageDataset, clients: int, seed: int) -> list[NDArray[np.int64]]:
    """Deal shuffled images in turn; clients differ by at most one image.

    Returns:
        For each client, sorted indices into ``dataset``.

    Raises:
        UserError: when there are more clients than images.
    """
    require_images(dataset, clients, 1)
    owners = np.empty(len(dataset), dtype=np.int64)
    owners[generator(seed, "partition").permutation(len(dataset))] = np.arange(len(dataset)) % clients
    return shares_of(owners, clients)
