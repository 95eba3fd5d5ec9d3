"""The metric of a task from answers: of a model beside its data, and of the same one through relays."""

from collections.abc import Sequence

import numpy as np

from fedpriv.data.emotions import EMOTIONS
from fedpriv.metrics.angular import angular_error_deg
from fedpriv.metrics.classification import accuracy, macro_f1
from fedpriv.serving.answers import Answer
from fedpriv.types import AnyArray, Metrics


def score_answers(answers: Sequence[Answer], targets: AnyArray) -> Metrics:
    """Measure answers as the task of their targets does.

    Answers through relays and answers of the same model in the same process are equal number by number, and
    so are their scores. They differ from :meth:`fedpriv.tasks.base.Task.evaluate`, which infers in float32,
    by roundings: about 1e-5 degrees; a class only where two are as likely to 1e-6.

    Args:
        answers: N answers.
        targets: (N, 2) float pitch and yaw in radians, or (N,) whole numbers below 7, indices into
            :data:`fedpriv.data.emotions.EMOTIONS`.

    Returns:
        ``angular_error_deg``, a mean; or ``macro_f1`` and ``accuracy``.

    Raises:
        ValueError: there are no answers, the lengths differ, or an answer lacks what the targets are.
    """
    if not len(answers) or len(answers) != len(targets):
        raise ValueError(f"scores: {len(answers)} answers for {len(targets)} targets")
    if targets.dtype.kind == "f":
        gazes = [answer.gaze for answer in answers if answer.gaze is not None]
        if len(gazes) != len(answers):
            raise ValueError("scores: an answer has no gaze")
        said = np.array([[gaze.pitch, gaze.yaw] for gaze in gazes])
        return {"angular_error_deg": float(angular_error_deg(said, targets).mean())}
    labels = [answer.emotion.label for answer in answers if answer.emotion is not None]
    if len(labels) != len(answers):
        raise ValueError("scores: an answer has no emotion")
    classes = np.array([EMOTIONS.index(label) for label in labels], dtype=np.int64)
    return {"macro_f1": macro_f1(targets, classes, len(EMOTIONS)), "accuracy": accuracy(targets, classes)}
