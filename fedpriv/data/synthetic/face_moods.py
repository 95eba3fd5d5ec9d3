"""Which emotions a person shows, and how an annotator labels them.

Every person has an own mix of the classes, drawn from Dirichlet(2), so that clients that hold different
people hold differently distributed labels; over many people the classes are balanced.
"""

import numpy as np
from numpy.typing import NDArray

from fedpriv.data.synthetic.face_actions import EMOTION_UNITS
from fedpriv.data.synthetic.face_scene import FloatArray
from fedpriv.seeding import generator

CONCENTRATION = 2.0
"""Of the Dirichlet distribution of a person's mix of classes; large: all alike."""


def mix(seed: int, person: int) -> FloatArray:
    """Return the probability (7,) of each class for person ``person``."""
    random = generator(seed, "synthetic_faces", "mix", person)
    return random.dirichlet(np.full(len(EMOTION_UNITS), CONCENTRATION))


def draw_emotions(
    seed: int, person: int, count: int, label_noise: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw what ``count`` pictures of a person show, and their labels.

    With probability ``label_noise`` a label is one of the six wrong classes, all equally likely. What
    picture i shows depends on ``seed``, ``person`` and i alone.

    Returns:
        The classes shown and the labels, both (count,) int64.
    """
    classes = len(EMOTION_UNITS)
    chance = generator(seed, "synthetic_faces", "emotions", person).random((count, 3))
    shown = np.searchsorted(np.cumsum(mix(seed, person))[:-1], chance[:, 0], side="right").astype(np.int64)
    wrong = (shown + 1 + (chance[:, 2] * (classes - 1)).astype(np.int64)) % classes
    return shown, np.where(chance[:, 1] < label_noise, wrong, shown)
