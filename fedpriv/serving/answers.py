"""What a served model says of an image, and how that is written for its way back."""

import json
import math
from dataclasses import dataclass
from typing import Any

from fedpriv.data.emotions import EMOTIONS

KINDS = ("gaze", "emotion")
"""What can be asked of an image."""

GAZE_DECIMALS, PROBABILITY_DECIMALS = 6, 4
MOST_ANSWER_BYTES = 224
"""Length of the longest encoded answer: with its authentication tag it fits a record of 256 bytes."""

_DIGEST = 16
_FARTHEST = 1000.0


@dataclass(frozen=True)
class Gaze:
    """Where an eye looks, in the convention of :mod:`fedpriv.data.gaze_convention`.

    Attributes:
        pitch: radians, positive upwards, rounded to 1e-6.
        yaw: radians, positive to the left of the picture, rounded to 1e-6.
        model: the first 16 hexadecimal digits of the digest of the model that says so.
    """

    pitch: float
    yaw: float
    model: str


@dataclass(frozen=True)
class Emotion:
    """Which expression a picture shows.

    Attributes:
        label: the most likely of :data:`fedpriv.data.emotions.EMOTIONS`.
        probabilities: the model's softmax, in their order, each rounded to 1e-4. They are what the
            model says, and not calibrated.
        model: the first 16 hexadecimal digits of the digest of the model that says so.
    """

    label: str
    probabilities: tuple[float, ...]
    model: str


@dataclass(frozen=True)
class Answer:
    """All that was asked of one image; None for what was not asked."""

    gaze: Gaze | None = None
    emotion: Emotion | None = None


def bounded(angle: float) -> float:
    """Return an angle as an answer holds it: 6 decimals, within +-1000 rad, never a negative zero.

    The bound is far beyond any gaze; it keeps answers short whatever a diverged model says.
    """
    return round(max(-_FARTHEST, min(_FARTHEST, angle)), GAZE_DECIMALS) + 0.0


def as_dict(answer: Answer) -> dict[str, Any]:
    """Return the parts that were asked for, as JSON has them."""
    # vars, not asdict, which copies every number by itself
    return {kind: dict(vars(part)) for kind, part in vars(answer).items() if part is not None}


def encode_answer(answer: Answer) -> bytes:
    """Return the answer as compact JSON of at most :data:`MOST_ANSWER_BYTES` bytes.

    Guarantee:
        ``decode_answer(encode_answer(answer)) == answer``, to the last bit of every number.
    """
    return json.dumps(as_dict(answer), separators=(",", ":"), allow_nan=False).encode()


def decode_answer(data: bytes) -> Answer:
    """Read what :func:`encode_answer` wrote.

    Raises:
        ValueError: it is longer than :data:`MOST_ANSWER_BYTES`, or is no answer.
    """
    if len(data) > MOST_ANSWER_BYTES:
        raise ValueError(f"answer: {len(data)} bytes, at most {MOST_ANSWER_BYTES}")
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ValueError("answer: is no JSON") from error
    if not isinstance(found, dict) or not found.keys() <= set(KINDS):
        raise ValueError("answer: has other parts than gaze and emotion")
    gaze, emotion = found.get("gaze"), found.get("emotion")
    return Answer(
        gaze=None if gaze is None else _gaze(gaze), emotion=None if emotion is None else _emotion(emotion)
    )


def _gaze(found: Any) -> Gaze:
    if not isinstance(found, dict) or found.keys() != {"pitch", "yaw", "model"}:
        raise ValueError("answer: gaze needs pitch, yaw and model")
    pitch, yaw = (_number(found[name], -_FARTHEST, _FARTHEST) for name in ("pitch", "yaw"))
    return Gaze(pitch, yaw, _model(found["model"]))


def _emotion(found: Any) -> Emotion:
    if not isinstance(found, dict) or found.keys() != {"label", "probabilities", "model"}:
        raise ValueError("answer: emotion needs label, probabilities and model")
    shares = found["probabilities"]
    if found["label"] not in EMOTIONS or not isinstance(shares, list) or len(shares) != len(EMOTIONS):
        raise ValueError("answer: emotion is none of fedpriv's seven")
    return Emotion(
        found["label"], tuple(_number(share, 0.0, 1.0) for share in shares), _model(found["model"])
    )


def _number(value: Any, least: float, most: float) -> float:
    if type(value) not in (int, float) or not math.isfinite(value) or not least <= value <= most:
        raise ValueError(f"answer: a number is not from {least} to {most}")
    return float(value)


def _model(value: Any) -> str:
    if not isinstance(value, str) or len(value) != _DIGEST or not set(value) <= set("0123456789abcdef"):
        raise ValueError(f"answer: model is not {_DIGEST} hexadecimal digits")
    return value
