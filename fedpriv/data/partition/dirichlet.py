"""Label skew: clients whose mixtures of labels are drawn from a Dirichlet distribution."""

import numpy as np
from numpy.typing import NDArray

from fedpriv.data.dataset import ImageDataset
from fedpriv.data.partition.assign import cut, require_alpha, require_images, shares_of
from fedpriv.errors import UserError
from fedpriv.seeding import generator
from fedpriv.types import AnyArray

_DRAWS, _ENTRIES = 1000, 10**8
"""So often shares are drawn again before they are refused, and at most so many numbers are drawn."""


def dirichlet(
    dataset: ImageDataset,
    clients: int,
    seed: int,
    alpha: float = 0.5,
    over: str = "label",
    sizes: str = "equal",
    min_images: int = 2,
) -> list[NDArray[np.int64]]:
    """Skew the labels (or the people) that clients hold; small alpha: few each, large alpha: iid.

    ``sizes=equal``: each client draws its own mixture of labels q ~ Dirichlet(alpha p), p being the
    frequencies of the labels in ``dataset``, and then its images by q without replacement (Hsu, Qi,
    Brown 2019, arXiv 1909.06335, section 3). Clients choose one after another; a label that is used up
    leaves the others in their proportions. Clients differ by at most one image.

    ``sizes=drawn``: each label's images are cut over the clients in proportions ~ Dirichlet(alpha, ...,
    alpha), so sizes differ too (Yurochkin et al. 2019, arXiv 1905.12022; "distribution-based label
    imbalance" of Li et al. 2021, arXiv 2102.02079). Drawn again until each client has ``min_images``.

    The two read alpha differently: with L labels of equal frequency, the first gives each label
    alpha / L.

    Edge cases:
        The last clients of ``sizes=equal`` take what is left, so that with a small alpha they hold
        more labels than the first: every image is dealt.

    Args:
        dataset: what is shared out.
        clients: how many clients.
        seed: the run's seed.
        alpha: concentration.
        over: ``label`` (targets that are classes) or ``subject`` (identities).
        sizes: ``equal`` or ``drawn``.
        min_images: least images of a client.

    Returns:
        For each client, sorted indices into ``dataset``.

    Raises:
        UserError: for alpha outside (0, 10^6], an unknown choice, continuous targets, too few
            images, or when 1000 draws (fewer where labels times clients exceed 100,000) leave some
            client short.
    """
    require_alpha(alpha)
    require_images(dataset, clients, min_images)
    if sizes not in ("equal", "drawn"):
        raise UserError(f"partition.sizes={sizes}: choose equal or drawn")
    counts, order = _grouped(_labels(dataset, over))
    random = generator(seed, "partition")
    if sizes == "equal":
        matrix = _by_client(counts, clients, alpha, random)
    else:
        matrix = _by_label(counts, clients, alpha, min_images, random)
    owners = np.empty(len(dataset), dtype=np.int64)
    start = 0
    for count, cuts in zip(counts, matrix, strict=True):
        images = random.permutation(order[start : start + count])
        owners[images] = np.repeat(np.arange(clients), cuts)
        start += count
    return shares_of(owners, clients)


def _labels(dataset: ImageDataset, over: str) -> AnyArray:
    if over == "subject":
        return dataset.subjects
    if over != "label":
        raise UserError(f"partition.over={over}: choose label or subject")
    if dataset.targets.ndim != 1 or dataset.targets.dtype.kind not in "iu":
        raise UserError(
            f"partition.over=label: data={dataset.name} has no classes, its targets are "
            f"{dataset.targets.dtype} {dataset.targets.shape[1:]}; choose data that have classes, or "
            "partition.over=subject"
        )
    return dataset.targets


def _grouped(labels: AnyArray) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return (images of each label, (L,); indices of all images, label by label, (N,))."""
    _, counts = np.unique(labels, return_counts=True)
    return counts.astype(np.int64), np.argsort(labels, kind="stable").astype(np.int64)


def _by_client(
    counts: NDArray[np.int64], clients: int, alpha: float, random: np.random.Generator
) -> NDArray[np.int32]:
    """Return (L, K) images of each label for each client, all clients of one size (to one image)."""
    total = int(counts.sum())
    left = counts.copy()
    matrix = np.zeros((len(counts), clients), dtype=np.int32)
    for client in range(clients):
        wanted = total // clients + (client < total % clients)
        # log of Gamma(a) variates, for they underflow at small a: G(a) = G(a + 1) U^(1 / a)
        shape = np.maximum(alpha * counts / total, 1e-100)
        mixture = np.log(random.standard_gamma(shape + 1)) - random.standard_exponential(len(counts)) / shape
        while wanted:
            mixture[left == 0] = -np.inf
            weights = np.exp(mixture - mixture.max())
            taken = np.minimum(random.multinomial(wanted, weights / weights.sum()), left)
            matrix[:, client] += taken.astype(np.int32)
            left -= taken
            wanted -= int(taken.sum())
    return matrix


def _by_label(
    counts: NDArray[np.int64], clients: int, alpha: float, min_images: int, random: np.random.Generator
) -> NDArray[np.int32]:
    """Return (L, K) images of each label for each client, each client with at least ``min_images``."""
    matrix = np.empty((len(counts), clients), dtype=np.int32)
    for _ in range(max(10, min(_DRAWS, _ENTRIES // matrix.size))):
        for row, count in zip(matrix, counts, strict=True):
            row[:] = cut(int(count), random.dirichlet(np.full(clients, alpha)))
        if matrix.sum(axis=0).min() >= min_images:
            return matrix
    raise UserError(
        f"partition.alpha={alpha}: some of {clients} clients always stay below {min_images} images; raise "
        "partition.alpha, lower federation.clients, or choose partition.sizes=equal"
    )
