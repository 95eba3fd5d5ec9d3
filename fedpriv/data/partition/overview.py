"""What each client holds, in figures: for a table, a picture or a report."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedpriv.data.dataset import ImageDataset
from fedpriv.types import AnyArray

MAX_KINDS = 40
"""More classes than this are counted, not told apart."""


@dataclass(frozen=True)
class ShareOverview:
    """Figures of K shares.

    Attributes:
        kind: what the labels are: ``class`` where targets are classes (but not identities), else
            ``person``.
        sizes: (K,) int64 images of each client.
        people: (K,) int64 different people of each client.
        labels: (K,) int64 different labels of each client.
        largest: (K,) float64 share of the most frequent label among a client's images, in [0, 1].
        names: one per label of the data, empty when there are more than :data:`MAX_KINDS`.
        counts: (K, len(names)) int64 images of each client and label.
        all_people: people of the data.
        all_labels: labels of the data.
    """

    kind: str
    sizes: NDArray[np.int64]
    people: NDArray[np.int64]
    labels: NDArray[np.int64]
    largest: NDArray[np.float64]
    names: tuple[str, ...]
    counts: NDArray[np.int64]
    all_people: int
    all_labels: int

    @property
    def effective_clients(self) -> float:
        """How many clients of equal size weigh as much: (sum n)^2 / sum n^2, between 1 and K."""
        sizes = self.sizes.astype(np.float64)
        return float(sizes.sum() ** 2 / (sizes**2).sum())


def overview(dataset: ImageDataset, shares: list[NDArray[np.int64]]) -> ShareOverview:
    """Count images, people and labels of every share.

    Args:
        dataset: what was shared out; only targets and subjects are looked at.
        shares: each client's indices, none of them empty.
    """
    classes = dataset.targets.ndim == 1 and dataset.targets.dtype.kind in "iu"
    classes = classes and not np.array_equal(dataset.targets, dataset.subjects)
    labels = dataset.targets if classes else dataset.subjects
    values, codes = np.unique(labels, return_inverse=True)
    names = dataset.class_names if classes else dataset.subject_names
    few = len(values) <= MAX_KINDS
    counts = np.zeros((len(shares), len(values) if few else 0), dtype=np.int64)
    different = np.zeros(len(shares), dtype=np.int64)
    largest = np.zeros(len(shares))
    for client, share in enumerate(shares):
        own = np.unique(codes[share], return_counts=True)
        different[client], largest[client] = len(own[0]), own[1].max() / len(share)
        if few:
            counts[client, own[0]] = own[1]
    return ShareOverview(
        kind="class" if classes else "person",
        sizes=np.array([len(share) for share in shares], dtype=np.int64),
        people=np.array([_different(dataset.subjects[share]) for share in shares], dtype=np.int64),
        labels=different,
        largest=largest,
        names=tuple(names[value] if names else str(value) for value in values) if few else (),
        counts=counts,
        all_people=_different(dataset.subjects),
        all_labels=len(values),
    )


def _different(values: AnyArray) -> int:
    return len(np.unique(values))
