"""How training images are shared out among clients. All partitions cover every image once."""

import numpy as np
from numpy.typing import NDArray

from fedpriv.data.dataset import ImageDataset
from fedpriv.errors import UserError
from fedpriv.seeding import generator


def by_subject(dataset: ImageDataset, clients: int, seed: int) -> list[NDArray[np.int64]]:
    """Give every client some identities, whole: a client is a device, a site or a household.

    Identities are shuffled by seed and dealt in turn, so clients differ by at most one identity.

    Returns:
        For each client, sorted indices into ``dataset``.

    Raises:
        UserError: when there are more clients than identities.
    """
    people = np.unique(dataset.subjects)
    if clients > len(people):
        raise UserError(
            f"federation.clients={clients}: only {len(people)} people to train on; lower it to "
            f"{len(people)} or fewer, or raise data.people"
        )
    shuffled = generator(seed, "partition").permutation(people)
    return [np.flatnonzero(np.isin(dataset.subjects, shuffled[client::clients])) for client in range(clients)]


def iid(dataset: ImageDataset, clients: int, seed: int) -> list[NDArray[np.int64]]:
    """Deal shuffled images in turn, whoever they show: the easy case to compare with.

    Raises:
        UserError: when there are more clients than images.
    """
    _require_images(dataset, clients, 1)
    shuffled = generator(seed, "partition").permutation(len(dataset))
    return [np.sort(shuffled[client::clients]) for client in range(clients)]


def dirichlet(
    dataset: ImageDataset, clients: int, seed: int, alpha: float = 0.5, min_images: int = 2
) -> list[NDArray[np.int64]]:
    """Split each identity's images over the clients in proportions ~ Dirichlet(alpha).

    Hsu, Qi, Brown 2019, arXiv 1909.06335, with identities in the place of classes: small alpha
    gives clients few people each, large alpha approaches :func:`iid`. Proportions are drawn
    again until each client has ``min_images``.

    Raises:
        UserError: for alpha outside (0, 10^6], min_images below 1, too few images, or when 1000
            draws leave some client short.
    """
    if not 0 < alpha <= 1e6:
        raise UserError(f"partition.alpha={alpha}: must be positive and at most 1000000 (nearly iid)")
    if min_images < 1:
        raise UserError(
            f"partition.min_images={min_images}: must be at least 1; a client needs something to train on"
        )
    _require_images(dataset, clients, min_images)
    random = generator(seed, "partition")
    for _ in range(1000):
        shares: list[list[NDArray[np.int64]]] = [[] for _ in range(clients)]
        for person in np.unique(dataset.subjects):
            images = random.permutation(np.flatnonzero(dataset.subjects == person))
            cuts = (np.cumsum(random.dirichlet(np.full(clients, alpha)))[:-1] * len(images)).astype(int)
            for share, part in zip(shares, np.split(images, cuts), strict=True):
                share.append(part)
        joined = [np.sort(np.concatenate(share)) for share in shares]
        if min(len(share) for share in joined) >= min_images:
            return joined
    raise UserError(
        f"partition.alpha={alpha}: some of {clients} clients always stay below {min_images} images; "
        f"raise partition.alpha or lower federation.clients"
    )


def _require_images(dataset: ImageDataset, clients: int, each: int) -> None:
    if clients * each > len(dataset):
        raise UserError(
            f"federation.clients={clients}: {each} images each need {clients * each}, the data has "
            f"{len(dataset)}; lower it to {len(dataset) // each} or fewer"
        )
