"""How well classes were told apart: accuracy, macro F1 and the confusion matrix.

With C the confusion matrix, C[i, j] images of class i taken for class j, and for class k

    precision = C[k, k] / sum_i C[i, k],    recall = C[k, k] / sum_j C[k, j],
    F1 = 2 C[k, k] / (sum_i C[i, k] + sum_j C[k, j]),

each 0 where its denominator is 0. Every one of the K classes counts in a mean over classes, also one that
occurs neither in the truth nor in the predictions (its F1 is 0): scikit-learn's
``f1_score(..., labels=range(K), average="macro", zero_division=0)``. A test set that lacks a class thus
cannot reach 1, but the figure does not depend on which classes a model happened to predict.
"""

import numpy as np
from numpy.typing import NDArray

Classes = NDArray[np.integer]


def confusion_matrix(targets: Classes, predictions: Classes, classes: int) -> NDArray[np.int64]:
    """Count how often each class was taken for each.

    Args:
        targets: (N,) true class, 0 to ``classes - 1``; N may be 0.
        predictions: (N,) predicted class.
        classes: K.

    Returns:
        (K, K) int64; rows are the truth, columns the predictions.

    Raises:
        ValueError: when lengths differ, a class is outside 0 to K - 1, or they are not whole numbers.
    """
    for name, values in (("targets", targets), ("predictions", predictions)):
        if values.ndim != 1 or values.dtype.kind not in "iu" or len(values) != len(targets):
            raise ValueError(
                f"{name}: need a vector of {len(targets)} whole numbers, got {values.dtype} {values.shape}"
            )
        if len(values) and not 0 <= int(values.min()) <= int(values.max()) < classes:
            raise ValueError(f"{name}: {values.min()} to {values.max()}, there are {classes} classes")
    cells = targets.astype(np.int64) * classes + predictions.astype(np.int64)
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes).astype(np.int64)


def accuracy(targets: Classes, predictions: Classes) -> float:
    """Return the share of images whose class was told right.

    Raises:
        ValueError: when lengths differ or there are no images.
    """
    if targets.shape != predictions.shape or targets.ndim != 1 or not len(targets):
        raise ValueError(
            f"targets, predictions: need two equally long vectors; got {targets.shape}, {predictions.shape}"
        )
    return float(np.mean(targets == predictions))


def macro_f1(targets: Classes, predictions: Classes, classes: int) -> float:
    """Return the mean F1 over all ``classes``, see the module's definition.

    Raises:
        ValueError: as :func:`confusion_matrix`, or when ``classes`` is below 1.
    """
    if classes < 1:
        raise ValueError(f"classes={classes}: must be at least 1")
    counts = confusion_matrix(targets, predictions, classes)
    return float(np.mean(_ratio(2 * np.diagonal(counts), counts.sum(axis=0) + counts.sum(axis=1))))


def class_recalls(targets: Classes, predictions: Classes, classes: int) -> NDArray[np.float64]:
    """Return the recall of every class, (K,) float64, 0 for a class without images.

    Raises:
        ValueError: as :func:`confusion_matrix`.
    """
    counts = confusion_matrix(targets, predictions, classes)
    return _ratio(np.diagonal(counts), counts.sum(axis=1))


def _ratio(part: NDArray[np.int64], whole: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.asarray(part / np.where(whole > 0, whole, 1), dtype=np.float64)
