"""Clients with much and clients with little, all of the same kind."""

import numpy as np
from numpy.typing import NDArray

from fedpriv.data.dataset import ImageDataset
from fedpriv.data.partition.assign import cut, require_alpha, require_images, shares_of
from fedpriv.seeding import generator


def quantity_skew(
    dataset: ImageDataset, clients: int, seed: int, alpha: float = 0.5, min_images: int = 2
) -> list[NDArray[np.int64]]:
    """Cut shuffled images into shares whose sizes follow q ~ Dirichlet(alpha, ..., alpha).

    Li, Diao, Chen, He 2021, arXiv 2102.02079 ("quantity skew"; their beta): labels and people are
    iid, only sizes differ. Small alpha gives a few clients nearly all images, large alpha approaches
    :func:`fedpriv.data.partition.iid.iid`. Every client has ``min_images`` before the rest is cut in
    proportions q; the authors draw q again instead, which with many clients never ends.

    Returns:
        For each client, sorted indices into ``dataset``.

    Raises:
        UserError: for alpha outside (0, 10^6], min_images below 1, or too few images.
    """
    require_alpha(alpha)
    require_images(dataset, clients, min_images)
    random = generator(seed, "partition")
    shuffled = random.permutation(len(dataset))
    rest = len(dataset) - clients * min_images
    sizes = min_images + cut(rest, random.dirichlet(np.full(clients, alpha)))
    owners = np.empty(len(dataset), dtype=np.int64)
    owners[shuffled] = np.repeat(np.arange(clients), sizes)
    return shares_of(owners, clients)
