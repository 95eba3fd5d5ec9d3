"""Sums of answers: they add up over any dealing of the images, to what the scores of all answers are."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedpriv.data.emotions import EMOTIONS
from fedpriv.serving.answers import Answer, Emotion, Gaze
from fedpriv.serving.scores import score_answers
from fedpriv.serving.sums import LENGTHS, answer_sums, score_sums

MODEL = "0" * 16


def gazes(generator, count):
    said = np.round(generator.normal(0, 0.3, (count, 2)), 6)
    targets = generator.normal(0, 0.3, (count, 2)).astype(np.float32)
    return [Answer(gaze=Gaze(*map(float, row), MODEL)) for row in said], targets


def emotions(generator, count):
    said, targets = generator.integers(0, 7, (2, count))
    return [Answer(emotion=Emotion(EMOTIONS[each], (0.0,) * 7, MODEL)) for each in said], targets


@pytest.mark.parametrize(("kind", "make"), [("gaze", gazes), ("emotion", emotions)])
@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), count=st.integers(1, 60), clients=st.integers(1, 9))
def test_the_sums_of_all_clients_give_the_scores_of_all_answers(kind, make, seed, count, clients):
    generator = np.random.default_rng(seed)
    answers, targets = make(generator, count)
    owner = generator.integers(0, clients, count)
    parts = [
        answer_sums(kind, [answers[i] for i in np.flatnonzero(owner == c)], targets[owner == c])
        for c in range(clients)
    ]
    whole = tuple(map(sum, zip(*parts, strict=True)))
    assert whole == answer_sums(kind, answers, targets)  # whole numbers: no order, no rounding
    expected = score_answers(answers, targets)
    found = score_sums(kind, count, whole)
    assert found.keys() == expected.keys()
    if kind == "emotion":
        assert found == expected
    else:
        assert found["angular_error_deg"] == pytest.approx(expected["angular_error_deg"], abs=1e-9, rel=0)


def test_a_right_angle_is_90_degrees():
    straight, left = Answer(gaze=Gaze(0.0, 0.0, MODEL)), np.array([[0.0, np.pi / 2]])
    assert answer_sums("gaze", [straight], left) == (90 * 10**9,)


def test_one_answer_in_another_place_changes_the_sums():
    """Two answers that err alike in the mean are still told apart where they are other classes."""
    happy, sad = (Answer(emotion=Emotion(name, (0.0,) * 7, MODEL)) for name in ("happy", "sad"))
    targets = np.array([0, 1])
    assert answer_sums("emotion", [happy, sad], targets) != answer_sums("emotion", [sad, happy], targets)


@pytest.mark.parametrize(
    ("images", "sums"),
    [(0, (0,)), (1, ()), (1, (1, 2)), (1, (-1,))],
)
def test_what_are_no_sums_of_gaze_is_refused(images, sums):
    with pytest.raises(ValueError, match="sums"):
        score_sums("gaze", images, sums)


def test_a_confusion_matrix_of_another_number_of_images_is_refused():
    with pytest.raises(ValueError, match="are none of 3 images"):
        score_sums("emotion", 3, (1, 1) + (0,) * 47)


def test_answers_that_lack_what_is_asked_are_refused():
    with pytest.raises(ValueError, match="no gaze"):
        answer_sums("gaze", [Answer()], np.zeros((1, 2)))
    with pytest.raises(ValueError, match="1 answers for 2 targets"):
        answer_sums("gaze", [Answer()], np.zeros((2, 2)))
    assert answer_sums("emotion", [], np.zeros(0, np.int64)) == (0,) * LENGTHS["emotion"]
