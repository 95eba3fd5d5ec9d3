"""What every partition needs: from one owner per image to the shares, and checks of the sizes."""

import numpy as np
from numpy.typing import NDArray

from fedpriv.data.dataset import ImageDataset
from fedpriv.errors import UserError


def shares_of(owners: NDArray[np.int64], clients: int) -> list[NDArray[np.int64]]:
    """Turn the owner of every image, (N,) in [0, clients), into each client's sorted indices.

    That every image is in exactly one share holds by construction.
    """
    order = np.argsort(owners, kind="stable").astype(np.int64, copy=False)
    ends = np.cumsum(np.bincount(owners, minlength=clients))
    return np.split(order, ends[:-1])


def require_images(dataset: ImageDataset, clients: int, each: int) -> None:
    """Refuse more clients than there are ``each`` images for.

    Raises:
        UserError: when ``each`` is below 1 or the images are too few.
    """
    if each < 1:
        raise UserError(
            f"partition.min_images={each}: must be at least 1; a client needs something to train on"
        )
    if clients * each > len(dataset):
        raise UserError(
            f"federation.clients={clients}: {each} images each need {clients * each}, the data has "
            f"{len(dataset)}; lower it to {len(dataset) // each} or fewer"
        )


def require_alpha(alpha: float) -> None:
    """Refuse a concentration outside (0, 10^6].

    Raises:
        UserError: for such a value, or one that is not a number.
    """
    if not 0 < alpha <= 1e6:
        raise UserError(f"partition.alpha={alpha}: must be positive and at most 1000000 (nearly iid)")


def cut(count: int, proportions: NDArray[np.float64]) -> NDArray[np.int64]:
    """Cut ``count`` images in these proportions (..., K): whole sizes that add up to ``count``."""
    ends = (np.cumsum(proportions, axis=-1) * count).astype(np.int64)
    ends[..., -1] = count
    return np.diff(np.minimum(ends, count), axis=-1, prepend=0)
