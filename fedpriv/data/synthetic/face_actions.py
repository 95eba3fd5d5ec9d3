"""Expressions as action units of the Facial Action Coding System, with intensities in [0, 1].

Which units make which emotion follows Ekman, Friesen and Hager, Facial Action Coding System (2002),
in the reading of Lucey et al. 2010 (CK+, doi 10.1109/CVPRW.2010.5543262).
"""

import numpy as np

from fedpriv.data.synthetic.face_scene import FloatArray

UNITS = {
    "AU1": "inner brow raiser",
    "AU2": "outer brow raiser",
    "AU4": "brow lowerer",
    "AU5": "upper lid raiser",
    "AU6": "cheek raiser",
    "AU7": "lid tightener",
    "AU9": "nose wrinkler",
    "AU12": "lip corner puller",
    "AU15": "lip corner depressor",
    "AU16": "lower lip depressor",
    "AU20": "lip stretcher",
    "AU23": "lip tightener",
    "AU25": "lips part",
    "AU26": "jaw drop",
}
"""The action units that are rendered, in the order of their columns."""

EMOTION_UNITS: dict[str, tuple[str, ...]] = {
    "angry": ("AU4", "AU5", "AU7", "AU23"),
    "disgust": ("AU9", "AU15", "AU16", "AU25"),
    "fear": ("AU1", "AU2", "AU4", "AU5", "AU20", "AU25"),
    "happy": ("AU6", "AU12", "AU25"),
    "sad": ("AU1", "AU4", "AU15"),
    "surprise": ("AU1", "AU2", "AU5", "AU25", "AU26"),
    "neutral": (),
}
"""The units of each of the seven classes, in FER2013's order of classes."""

_COLUMN = {name: column for column, name in enumerate(UNITS)}
_OPTIONAL = {"AU25": 0.35, "AU16": 0.3}
"""Units that a person often leaves away, with the probability that they do."""
_DROPOUT, _WRONG = 0.10, 0.05


def draw_units(emotion: int, random: np.random.Generator, weakest: float = 0.5) -> FloatArray:
    """Draw the intensities of one picture.

    A class's units share an intensity U(weakest, 1), each jittered by a factor U(0.7, 1.3), left away with
    probability 0.1 (optional ones more often); units of other classes intrude with probability 0.05.

    Args:
        emotion: class, index into ``EMOTION_UNITS``.
        random: source of the draw; how often it is asked does not depend on ``emotion``.
        weakest: least intensity of the whole.

    Returns:
        (len(UNITS),) float32 in [0, 1].
    """
    whole = random.uniform(weakest, 1.0)
    jitter = random.uniform(0.7, 1.3, len(UNITS))
    chance = random.random(len(UNITS))
    stray = random.uniform(0.1, 0.4, len(UNITS))
    units = np.where(random.random(len(UNITS)) < _WRONG, stray, 0.0)
    for name in list(EMOTION_UNITS.values())[emotion]:
        column = _COLUMN[name]
        if chance[column] >= _OPTIONAL.get(name, _DROPOUT):
            units[column] = whole * jitter[column]
    return np.clip(units, 0.0, 1.0).astype(np.float32)


def unit(units: FloatArray, name: str) -> FloatArray:
    """Return the intensities (B, 1, 1) of unit ``name`` from ``units`` (B, len(UNITS))."""
    return units[:, _COLUMN[name], None, None]
