"""Pairs of images to verify: a leaf, shared by data sets that publish pairs and by the metrics."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FOLDS = 10


@dataclass(frozen=True)
class VerificationPairs:
    """P pairs of images, in ``FOLDS`` contiguous folds of P / FOLDS pairs each.

    Attributes:
        left: (P,) int64, index of the first image.
        right: (P,) int64, index of the second image.
        same: (P,) bool, whether both show one person; half of every fold is True.
    """

    left: NDArray[np.int64]
    right: NDArray[np.int64]
    same: NDArray[np.bool_]

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.same)
