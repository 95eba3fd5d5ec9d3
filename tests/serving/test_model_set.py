import numpy as np
import pytest

from fedpriv.data.synthetic.eyes import render_person
from fedpriv.errors import UserError
from fedpriv.metrics.angular import angular_error_deg
from fedpriv.serving.image import fit
from fedpriv.serving.model_set import ModelSet
from fedpriv.serving.scores import score_answers
from fedpriv.tasks.emotion import EmotionTask
from tests.serving.conftest import noise, served


def test_images_of_all_sizes_and_questions_are_answered_as_each_alone(both):
    images = [noise(*size, seed=index) for index, size in enumerate([(36, 60), (48, 48), (128, 9)] * 4)]
    wanted = [("gaze",), ("emotion",), ("gaze", "emotion"), ("emotion", "gaze")] * 3
    answers = both.answer(images, wanted)
    for image, kinds, answer in zip(images, wanted, answers, strict=True):
        assert [answer] == both.answer([image], [kinds])
        assert (answer.gaze is not None, answer.emotion is not None) == ("gaze" in kinds, "emotion" in kinds)


def test_each_model_gets_the_image_in_its_size(both, gaze, emotion):
    image = noise(100, 80)
    (answer,) = both.answer([image], [("gaze", "emotion")])
    assert [answer.gaze] == gaze.predict(fit(image, 36, 60)[None])
    assert [answer.emotion] == emotion.predict(fit(image, 48, 48)[None])


def test_the_model_of_the_nearest_aspect_answers():
    eye, face = served("emotion", (1, 36, 60), seed=1), served("emotion", (1, 48, 48))
    models = ModelSet([eye, face])
    for size, expected in (
        ((36, 60), eye),
        ((72, 120), eye),
        ((48, 48), face),
        ((128, 128), face),
        ((60, 36), face),
        ((20, 26), eye),
        ((20, 25), face),
    ):
        assert models.choose("emotion", *size) is expected


def test_questions_that_nobody_answers_are_refused(gaze):
    models = ModelSet([gaze])
    with pytest.raises(UserError, match=r"^emotion: is not answered here; ask for gaze"):
        models.answer([noise(36, 60)], [("gaze", "emotion")])
    with pytest.raises(UserError, match="nothing is asked"):
        models.answer([noise(36, 60)], [()])


def test_a_set_needs_models():
    with pytest.raises(UserError, match="name at least one"):
        ModelSet([])


def test_digests_are_told_by_kind(both, gaze, emotion):
    assert both.digests == {"gaze": (gaze.digest,), "emotion": (emotion.digest,)}


def test_scores_are_the_metrics_of_the_tasks(both, emotion):
    eyes = render_person(0, 0, 12)
    answers = both.answer(list(eyes.images[:, 0]), [("gaze",)] * 12)
    said = np.array([[answer.gaze.pitch, answer.gaze.yaw] for answer in answers])
    expected = angular_error_deg(said, eyes.gaze).mean()
    assert score_answers(answers, eyes.gaze) == {"angular_error_deg": pytest.approx(expected)}
    assert EmotionTask.metric.name in score_answers(
        both.answer(list(noise(7, 48, 48)), [("emotion",)] * 7), np.arange(7)
    )


@pytest.mark.parametrize("targets", [np.zeros((2, 2)), np.zeros(2, np.int64), np.zeros((3, 2))])
def test_scores_need_an_answer_for_every_target(both, targets):
    image = noise(36, 60)
    mixed = both.answer([image, image], [("gaze",), ("emotion",)])
    with pytest.raises(ValueError, match=r"^scores: "):
        score_answers(mixed, targets)
