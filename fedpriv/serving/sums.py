"""A task's metric as whole numbers that add up over clients: exactly, however images are dealt to them."""

from collections.abc import Sequence

import numpy as np

from fedpriv.data.emotions import EMOTIONS
from fedpriv.metrics.angular import angular_error_deg
from fedpriv.metrics.classification import accuracy, confusion_matrix, macro_f1
from fedpriv.serving.answers import Answer
from fedpriv.types import AnyArray, Metrics

UNITS_PER_DEGREE = 10**9
"""Angular errors are added in billionths of a degree; the answers themselves are rounded to 57 millionths."""

LENGTHS = {"gaze": 1, "emotion": len(EMOTIONS) ** 2}
"""Numbers in the sums of each kind."""


def answer_sums(kind: str, answers: Sequence[Answer], targets: AnyArray) -> tuple[int, ...]:
    """Return what a metric needs of answers: sums of N images and of M others add up to those of all N + M.

    Args:
        kind: ``gaze`` or ``emotion``.
        answers: N answers to that question; N may be 0.
        targets: (N, 2) float pitch and yaw in radians, or (N,) indices into
            :data:`fedpriv.data.emotions.EMOTIONS`.

    Returns:
        Of gaze the angular errors' sum, each rounded to 1e-9 degrees, in that unit; of emotion the confusion
        matrix, row by row.

    Raises:
        ValueError: the lengths differ, or an answer lacks what is asked.
    """
    if len(answers) != len(targets):
        raise ValueError(f"sums: {len(answers)} answers for {len(targets)} targets")
    if any(getattr(answer, kind) is None for answer in answers):
        raise ValueError(f"sums: an answer has no {kind}")
    if not answers:
        return (0,) * LENGTHS[kind]
    if kind == "gaze":
        said = np.array([[each.gaze.pitch, each.gaze.yaw] for each in answers if each.gaze is not None])
        errors = angular_error_deg(said, targets)
        return (sum(round(float(error) * UNITS_PER_DEGREE) for error in errors),)
    labels = [EMOTIONS.index(each.emotion.label) for each in answers if each.emotion is not None]
    counts = confusion_matrix(targets, np.array(labels, dtype=np.int64), len(EMOTIONS))
    return tuple(int(count) for count in counts.ravel())


def score_sums(kind: str, images: int, sums: Sequence[int]) -> Metrics:
    """Return the metrics of :func:`fedpriv.serving.scores.score_answers` from sums over all clients.

    Macro F1 and accuracy to the last bit; the mean angular error to 1e-9 degrees.

    Args:
        kind: ``gaze`` or ``emotion``.
        images: how many were answered.
        sums: of :func:`answer_sums`, added up.

    Raises:
        ValueError: there are no images, or these are no sums of so many.
    """
    whole = len(sums) == LENGTHS[kind] and min(sums, default=-1) >= 0
    if images < 1 or not whole or (kind == "emotion" and sum(sums) != images):
        raise ValueError(f"sums: {len(sums)} numbers are none of {images} images")
    if kind == "gaze":
        return {"angular_error_deg": sums[0] / (images * UNITS_PER_DEGREE)}
    cells = np.repeat(np.arange(len(sums)), np.array(sums))
    targets, classes = np.divmod(cells, len(EMOTIONS))
    return {"macro_f1": macro_f1(targets, classes, len(EMOTIONS)), "accuracy": accuracy(targets, classes)}
