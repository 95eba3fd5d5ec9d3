import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedpriv.data.emotions import EMOTIONS
from fedpriv.serving.answers import (
    KINDS,
    MOST_ANSWER_BYTES,
    Answer,
    Emotion,
    Gaze,
    bounded,
    decode_answer,
    encode_answer,
)

_DIGEST = "0123456789abcdef"
_angles = st.floats(allow_nan=False).map(bounded)
_gazes = st.builds(Gaze, _angles, _angles, st.just(_DIGEST))
_shares = st.tuples(*[st.floats(0, 1).map(lambda share: round(share, 4))] * len(EMOTIONS))
_emotions = st.builds(Emotion, st.sampled_from(EMOTIONS), _shares, st.just(_DIGEST))


@given(st.builds(Answer, st.none() | _gazes, st.none() | _emotions))
def test_every_answer_comes_back_and_fits_its_record(answer):
    written = encode_answer(answer)
    assert decode_answer(written) == answer
    assert len(written) <= MOST_ANSWER_BYTES


def test_the_longest_answer_fits_its_record():
    gaze = Gaze(-999.999999, -999.999999, _DIGEST)
    emotion = Emotion(max(EMOTIONS, key=len), (0.1234,) * 7, _DIGEST)
    assert len(encode_answer(Answer(gaze, emotion))) <= MOST_ANSWER_BYTES


def test_what_was_not_asked_is_not_written():
    written = json.loads(encode_answer(Answer(gaze=Gaze(0.1, -0.2, _DIGEST))))
    assert written == {"gaze": {"pitch": 0.1, "yaw": -0.2, "model": _DIGEST}}


def test_there_is_no_negative_zero():
    assert str(bounded(-1e-9)) == "0.0"


_GAZE = {"pitch": 0.0, "yaw": 0.0, "model": _DIGEST}
_EMOTION = {"label": "sad", "probabilities": [0.0] * 7, "model": _DIGEST}


@pytest.mark.parametrize(
    "found",
    [
        [],
        {"face": {}},
        {"gaze": 1},
        {"gaze": {"pitch": 0.0, "yaw": 0.0}},
        {"gaze": _GAZE | {"pitch": "0"}},
        {"gaze": _GAZE | {"pitch": True}},
        {"gaze": _GAZE | {"pitch": 1e300}},
        {"gaze": _GAZE | {"model": "z" * 16}},
        {"gaze": _GAZE | {"model": 3}},
        {"emotion": _EMOTION | {"label": "bored"}},
        {"emotion": _EMOTION | {"label": ["sad"]}},
        {"emotion": _EMOTION | {"probabilities": [0.0] * 6}},
        {"emotion": _EMOTION | {"probabilities": [2.0] * 7}},
        {"emotion": _EMOTION | {"probabilities": 7}},
    ],
)
def test_what_is_no_answer_is_refused(found):
    with pytest.raises(ValueError, match=r"^answer: "):
        decode_answer(json.dumps(found).encode())


@pytest.mark.parametrize(
    "data", [b"", b"\xff", b"{", b"[" * 200, b'{"gaze":{"pitch":NaN,"yaw":0,"model":""}}']
)
def test_bytes_that_are_no_answer_are_refused(data):
    with pytest.raises(ValueError, match=r"^answer: "):
        decode_answer(data)


def test_what_is_too_long_is_refused_unread():
    with pytest.raises(ValueError, match="bytes"):
        decode_answer(b" " * (MOST_ANSWER_BYTES + 1))


def test_the_kinds_are_the_parts_of_an_answer():
    assert tuple(Answer.__dataclass_fields__) == KINDS
