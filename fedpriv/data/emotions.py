"""The seven expressions of fedpriv, and what each data set's own labels mean in them.

Every published set orders the expressions differently. Here the order stands once: that of FER2013.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

EMOTIONS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
"""Class names; a target is an index into them."""

LabelTable = Mapping[int, int | None]
"""A data set's own label to an index into :data:`EMOTIONS`; None for what is none of the seven."""

_ANGRY, _DISGUST, _FEAR, _HAPPY, _SAD, _SURPRISE, _NEUTRAL = range(len(EMOTIONS))

FER2013: LabelTable = {
    0: _ANGRY,
    1: _DISGUST,
    2: _FEAR,
    3: _HAPPY,
    4: _SAD,
    5: _SURPRISE,
    6: _NEUTRAL,
}
"""Goodfellow et al. 2013, arXiv 1307.0414."""

FER_PLUS: LabelTable = {
    0: _NEUTRAL,
    1: _HAPPY,
    2: _SURPRISE,
    3: _SAD,
    4: _ANGRY,
    5: _DISGUST,
    6: _FEAR,
    7: None,  # contempt
    8: None,  # unknown
    9: None,  # no face
}
"""Columns of votes in ``fer2013new.csv``; Barsoum et al. 2016, arXiv 1608.01041."""

RAF_DB: LabelTable = {
    1: _SURPRISE,
    2: _FEAR,
    3: _DISGUST,
    4: _HAPPY,
    5: _SAD,
    6: _ANGRY,
    7: _NEUTRAL,
}
"""Basic expressions; Li, Deng, Du, CVPR 2017."""

AFFECTNET: LabelTable = {
    0: _NEUTRAL,
    1: _HAPPY,
    2: _SAD,
    3: _SURPRISE,
    4: _FEAR,
    5: _DISGUST,
    6: _ANGRY,
    7: None,  # contempt
    8: None,  # none
    9: None,  # uncertain
    10: None,  # no face
}
"""Mollahosseini, Hasani, Mahoor 2017, arXiv 1708.03985."""

CK_PLUS: LabelTable = {
    0: _NEUTRAL,
    1: _ANGRY,
    2: None,  # contempt
    3: _DISGUST,
    4: _FEAR,
    5: _HAPPY,
    6: _SAD,
    7: _SURPRISE,
}
"""Lucey et al., CVPR Workshops 2010."""


@dataclass(frozen=True)
class Canonical:
    """Labels of a data set in the order of :data:`EMOTIONS`.

    Attributes:
        targets: (K,) int64, the K labels that are one of the seven.
        kept: (K,) int64, increasing: which of the N labels these are.
        left_out: the data set's own label to how many were left out for being none of the seven.
    """

    targets: NDArray[np.int64]
    kept: NDArray[np.int64]
    left_out: dict[int, int]


def canonical(labels: NDArray[np.int64], table: LabelTable) -> Canonical:
    """Translate a data set's own labels, leaving out what is none of the seven expressions.

    Args:
        labels: (N,) int64.
        table: one of this module's tables.

    Raises:
        ValueError: for a label that the table does not know.
    """
    own, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
    if unknown := [int(label) for label in own if int(label) not in table]:
        raise ValueError(f"labels: {unknown[0]} is none of {', '.join(map(str, table))}")
    meaning = [table[int(label)] for label in own]
    translated = np.array([-1 if index is None else index for index in meaning], dtype=np.int64)[inverse]
    kept = np.flatnonzero(translated >= 0)
    left_out = {
        int(label): int(count)
        for label, count, index in zip(own, counts, meaning, strict=True)
        if index is None
    }
    return Canonical(targets=translated[kept], kept=kept, left_out=left_out)


def own_labels(table: LabelTable) -> tuple[int, ...]:
    """Return the data set's own label of each of :data:`EMOTIONS`, in their order."""
    inverse = {index: label for label, index in table.items() if index is not None}
    return tuple(inverse[index] for index in range(len(EMOTIONS)))
