"""Closed-set identification: whose image is it, of the people in a gallery?"""

import numpy as np
from numpy.typing import NDArray

_BLOCK = 256


def rank_one_rate(vectors: NDArray[np.floating], labels: NDArray[np.int64]) -> float:
    """Return the share of probes whose nearest gallery vector is of their own person.

    The gallery holds the first vector of every person, the probes are all others; the distance is
    Euclidean, which for vectors of unit length orders as the cosine does. This is rank 1 of the
    cumulative match characteristic (Phillips, Moon, Rizvi, Rauss, The FERET Evaluation Methodology,
    IEEE PAMI 22(10), 2000). A probe as near to another person as to its own counts as missed.

    Args:
        vectors: (N, D) of any float type; memory beyond them is one gallery and one block of probes.
        labels: (N,) the person of each.

    Raises:
        ValueError: when lengths differ, or nobody has a second vector.
    """
    if vectors.ndim != 2 or labels.shape != (len(vectors),):
        raise ValueError(f"vectors, labels: need (N, D) and (N,), got {vectors.shape} and {labels.shape}")
    _, first, person = np.unique(labels, return_index=True, return_inverse=True)
    probes = np.setdiff1d(np.arange(len(labels)), first)
    if not len(probes):
        raise ValueError("labels: nobody has two vectors, so there is no probe")
    gallery = vectors[first].astype(np.float64)
    squares = np.square(gallery).sum(axis=1)
    found = 0
    for start in range(0, len(probes), _BLOCK):
        block = probes[start : start + _BLOCK]
        # |p - g|^2 without |p|^2, which is the same for every g
        distances = squares - 2 * vectors[block].astype(np.float64) @ gallery.T
        rows = np.arange(len(block))
        own = distances[rows, person[block]]
        distances[rows, person[block]] = np.inf
        found += int(np.sum(own < distances.min(axis=1)))
    return found / len(probes)
