import copy

import numpy as np
import pytest
import torch
from torch import nn

from fedpriv.data.emotions import EMOTIONS
from fedpriv.errors import UserError
from fedpriv.models.emotion_cnn import EmotionCNN
from fedpriv.models.gaze_cnn import GazeCNN
from fedpriv.serving.models import Origin, ServedModel
from fedpriv.serving.pooling import HalvingMaxPool, with_quick_pools
from fedpriv.tasks.emotion import EmotionTask
from fedpriv.tasks.face import FaceTask
from fedpriv.tasks.gaze import GazeTask
from tests.serving.conftest import SETTINGS, noise, served

_ORIGIN = Origin("outputs/run", "", {}, {})


@pytest.mark.parametrize("kind", ["gaze", "emotion"])
def test_answers_do_not_depend_on_the_images_beside(kind):
    model = served(kind)
    images = noise(45, *model.in_shape[1:])
    together, outputs = model.predict(images), model.outputs(images)
    for step in (1, 2, 7, 13, 31):
        starts = range(0, 45, step)
        parts = np.concatenate([model.outputs(images[k : k + step]) for k in starts])
        assert np.abs(parts - outputs).max() < 1e-12
        assert [said for k in starts for said in model.predict(images[k : k + step])] == together
    order = np.random.default_rng(0).permutation(45)
    assert model.predict(images[order]) == [together[index] for index in order]


@pytest.mark.parametrize("kind", ["gaze", "emotion"])
def test_answers_do_not_depend_on_threads(kind):
    model = served(kind)
    images = noise(20, *model.in_shape[1:])
    before, expected = torch.get_num_threads(), model.predict(images)
    try:
        torch.set_num_threads(2)
        assert model.predict(images) == expected
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("kind", ["gaze", "emotion"])
def test_outputs_are_those_of_the_trained_model_after_its_tasks_preprocessing(kind):
    torch.manual_seed(3)
    module = GazeCNN((1, 36, 60)) if kind == "gaze" else EmotionCNN((1, 48, 48), hidden=16)
    task = GazeTask() if kind == "gaze" else EmotionTask()
    images = noise(9, *((36, 60) if kind == "gaze" else (48, 48)))
    with torch.inference_mode():
        expected = module(task.preprocess(torch.from_numpy(images[:, None]))).numpy()
    model = ServedModel(task, SETTINGS[kind], (1, *images.shape[1:]), copy.deepcopy(module), _ORIGIN)
    np.testing.assert_allclose(model.outputs(images), expected, atol=2e-5)


def test_gaze_is_rounded_radians(gaze):
    images = noise(5, 36, 60)
    for said, (pitch, yaw) in zip(gaze.predict(images), gaze.outputs(images), strict=True):
        assert (said.pitch, said.yaw) == (round(pitch, 6), round(yaw, 6))
        assert said.model == gaze.digest[:16]


def test_emotion_is_the_softmax(emotion):
    images = noise(5, 48, 48)
    expected = torch.from_numpy(emotion.outputs(images)).softmax(dim=1).numpy()
    for said, shares in zip(emotion.predict(images), expected, strict=True):
        np.testing.assert_allclose(said.probabilities, shares, atol=5.1e-5)
        assert said.label == EMOTIONS[int(shares.argmax())]


@pytest.mark.parametrize("kind", ["gaze", "emotion"])
def test_no_images_give_no_answers(kind):
    model = served(kind)
    assert model.predict(noise(0, *model.in_shape[1:])) == []


def test_images_of_another_size_are_refused(gaze):
    for images in (noise(2, 36, 61), noise(2, 36, 60).astype(np.float32), noise(36, 60)):
        with pytest.raises(ValueError, match="need uint8"):
            gaze.predict(images)


def test_the_digest_names_what_decides_an_answer():
    first = served("gaze")
    assert served("gaze").digest == first.digest
    assert len({first.digest, served("gaze", seed=1).digest, served("emotion").digest}) == 3
    # both shapes give the same weights, but not the same answers
    assert served("gaze", (1, 40, 64)).digest != first.digest


def test_another_task_is_refused_in_one_line():
    with pytest.raises(UserError, match=r"^outputs/run: its task is FaceTask; gaze and emotion are served"):
        ServedModel(FaceTask(), {}, (1, 36, 60), GazeCNN((1, 36, 60)), _ORIGIN)


@pytest.mark.parametrize("shape", [(3, 36, 60), (36, 60), (1, 0, 60), (1, 513, 60), ()])
def test_images_that_are_not_served_are_refused(shape):
    with pytest.raises(UserError, match=r"^outputs/run: its model takes"):
        ServedModel(GazeTask(), {}, shape, GazeCNN((1, 36, 60)), _ORIGIN)


def test_diverged_weights_are_refused():
    module = GazeCNN((1, 36, 60))
    with torch.no_grad():
        module.regressor[-1].bias[0] = float("nan")
    with pytest.raises(UserError, match="NaN"):
        ServedModel(GazeTask(), SETTINGS["gaze"], (1, 36, 60), module, _ORIGIN)


@pytest.mark.parametrize("shape", [(2, 3, 8, 10), (1, 1, 9, 5), (3, 2, 1, 1), (1, 4, 12, 7)])
def test_quick_pooling_is_pooling(shape):
    inputs = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert torch.equal(HalvingMaxPool()(inputs), nn.MaxPool2d(2, ceil_mode=True)(inputs))


def test_only_pools_that_halve_are_exchanged():
    others = [
        nn.MaxPool2d(3, 2, ceil_mode=True),
        nn.MaxPool2d(2),
        nn.MaxPool2d(2, 1, ceil_mode=True),
        nn.MaxPool2d(2, padding=1, ceil_mode=True),
        nn.AvgPool2d(2),
    ]
    module = with_quick_pools(nn.Sequential(*others, nn.Sequential(nn.MaxPool2d(2, ceil_mode=True))))
    assert [type(child) for child in module[:5]] == [type(other) for other in others]
    assert isinstance(module[5][0], HalvingMaxPool)
