"""The emotion task: refusals, loss by hand, metrics of known predictions, and the picture."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from fedpriv.data.dataset import ImageDataset
from fedpriv.data.emotions import EMOTIONS
from fedpriv.data.holdout import unseen_people
from fedpriv.data.synthetic_expressions import load
from fedpriv.errors import UserError
from fedpriv.models.emotion_cnn import EmotionCNN
from fedpriv.tasks.augment import drawn_by
from fedpriv.tasks.emotion import EmotionTask
from tests.tasks.averaging import federate

TASK = EmotionTask()


def dataset(targets, names=EMOTIONS, shape=(1, 12, 16)) -> ImageDataset:
    """Images whose brightness is 20 times their class."""
    targets = np.asarray(targets, dtype=np.int64)
    images = np.broadcast_to(
        (20 * targets).astype(np.uint8)[:, None, None, None], (len(targets), *shape)
    ).copy()
    subjects = np.zeros(len(targets), np.int64)
    return ImageDataset("toy", images, targets, subjects, ("one",), class_names=names)


class ReadsBrightness(nn.Module):
    """Answers the class that the brightness states; ``shift`` makes it wrong."""

    def __init__(self, shift: int = 0) -> None:
        super().__init__()
        self.shift = shift
        self.dropout = nn.Dropout(0.9)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        level = (images.mean(dim=(1, 2, 3)) + 1) * 127.5 / 20
        guess = (level.round().long() + self.shift) % 7
        return self.dropout(nn.functional.one_hot(guess, 7).float())


def test_data_without_named_classes_are_refused_by_name() -> None:
    TASK.check(dataset([0, 1]))
    with pytest.raises(UserError, match=r"^data=toy: the emotion task needs classes with names, it has 0;"):
        TASK.check(dataset([0, 1], names=()))
    gaze = ImageDataset(
        "eyes",
        np.zeros((2, 1, 8, 8), np.uint8),
        np.zeros((2, 2), np.float32),
        np.zeros(2, np.int64),
        ("p",),
    )
    with pytest.raises(UserError, match=r"^data=eyes: EmotionTask needs one class per image"):
        TASK.check(gaze)


@pytest.mark.parametrize("value", [-0.1, 1.0, float("nan")])
def test_label_smoothing_out_of_range_is_named(value: float) -> None:
    with pytest.raises(UserError, match=rf"^task\.label_smoothing={value}: must be from 0 to below 1"):
        EmotionTask(label_smoothing=value)


@pytest.mark.parametrize("value", [-0.1, 2.5, float("nan")])
def test_augmentation_out_of_range_is_named(value: float) -> None:
    with pytest.raises(UserError, match=rf"^task\.augmentation={value}: must be from 0 to 2"):
        EmotionTask(augmentation=value)


def test_there_is_an_output_for_every_name_even_of_classes_that_nobody_shows() -> None:
    assert TASK.outputs(dataset([0, 2])) == 7
    assert TASK.outputs(dataset([0, 2], names=("a", "b", "c"))) == 3


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_the_loss_is_cross_entropy_against_smoothed_targets(smoothing: float) -> None:
    logits = [[1.0, 2.0, 0.0], [0.0, 0.0, 5.0]]
    expected = []
    for row, target in zip(logits, (1, 0), strict=True):
        log_softmax = [value - math.log(sum(math.exp(other) for other in row)) for value in row]
        wanted = [(1 - smoothing) * (k == target) + smoothing / 3 for k in range(3)]
        expected.append(-sum(q * p for q, p in zip(wanted, log_softmax, strict=True)))
    loss = EmotionTask(label_smoothing=smoothing).loss(torch.tensor(logits), torch.tensor([1, 0]))
    assert float(loss) == pytest.approx(np.mean(expected), rel=1e-6)


def test_the_loss_of_an_empty_batch_is_zero() -> None:
    assert float(TASK.loss(torch.zeros(0, 7), torch.zeros(0, dtype=torch.int64))) == 0.0


def test_measures_of_predictions_that_are_known() -> None:
    """Three of class 0, one taken for class 1, and one of class 1: F1 are 4/5, 2/3 and five times 0."""
    images = dataset([0, 0, 0, 1])
    images.images[2] = 20
    found = TASK.evaluate(ReadsBrightness(), images)
    assert found == pytest.approx(
        {
            "macro_f1": (4 / 5 + 2 / 3) / 7,
            "accuracy": 3 / 4,
            "recall_angry": 2 / 3,
            "recall_disgust": 1.0,
        }
    )


def test_evaluation_spans_batches_switches_dropout_off_and_leaves_the_mode_as_it_was() -> None:
    for training in (True, False):
        model = ReadsBrightness().train(training)
        assert TASK.evaluate(model, dataset(np.arange(1100) % 7))["macro_f1"] == 1.0
        assert model.training is training


def test_the_mode_is_restored_when_the_model_fails() -> None:
    class Broken(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("broken")

    model = Broken().train()
    with pytest.raises(RuntimeError, match="broken"):
        TASK.evaluate(model, dataset([0]))
    assert model.training


def test_the_baseline_answers_the_majority_of_training_under_the_names_of_the_evaluation() -> None:
    test = dataset([3, 3, 3, 5])
    found = TASK.baseline(dataset([5, 5, 3]), test)
    assert found["accuracy"] == 0.25
    assert found["macro_f1"] == pytest.approx((2 * 1 / (1 + 4)) / 7)
    assert found["recall_happy"] == 0.0
    assert found["recall_surprise"] == 1.0
    assert set(found) == set(TASK.evaluate(ReadsBrightness(), test))


@pytest.mark.parametrize("shape", [(1, 48, 48), (1, 36, 60), (3, 100, 100)])
def test_the_network_takes_faces_and_eyes_and_a_step_lowers_the_loss(shape) -> None:
    torch.manual_seed(0)
    channels, height, width = shape
    coarse = torch.from_numpy(np.random.default_rng(0).uniform(0, 255, size=(7, channels, 4, 4)))
    images = nn.functional.interpolate(coarse, (height, width)).to(torch.uint8)
    targets = torch.arange(7)
    model = EmotionCNN(shape)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(15):
        loss = TASK.loss(model(TASK.preprocess(images)), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * losses[0]


def test_mirroring_can_be_switched_off() -> None:
    ramp = torch.linspace(-1, 1, 24).expand(200, 1, 20, 24)
    for mirror, shares in ((True, (0.3, 0.7)), (False, (0.0, 0.0))):
        moved = EmotionTask(mirror=mirror).augment(ramp, drawn_by(torch.Generator().manual_seed(0)))
        falling = (moved[:, 0, 10, 20] < moved[:, 0, 10, 3]).float().mean()
        assert shares[0] <= float(falling) <= shares[1]


@pytest.mark.parametrize("shape", [(1, 48, 48), (3, 36, 60)])
def test_the_picture_tells_right_from_wrong_and_is_chosen_by_seed(shape) -> None:
    images = dataset(np.arange(21) % 7, shape=shape)

    def reddest(shift: int) -> int:
        sheet = np.asarray(TASK.draw(ReadsBrightness(shift), images, 8, seed=0)).astype(int)
        return int((sheet[..., 0] - sheet[..., 1]).max())

    assert reddest(0) < 60 < reddest(1)
    one, two = (TASK.draw(ReadsBrightness(), images, 8, seed=1) for _ in range(2))
    assert one.tobytes() == two.tobytes()
    other = TASK.draw(ReadsBrightness(), images, 8, seed=2)
    assert one.tobytes() != other.tobytes()


def test_the_matrix_is_brightest_where_the_predictions_are() -> None:
    """Every class taken for the next: in each row the brightest cell is one to the right of the diagonal."""
    sheet = np.asarray(TASK.draw(ReadsBrightness(1), dataset(np.arange(700) % 7), 3, seed=0)).astype(int)
    for row in range(7):
        cells = [sheet[22 + 50 * row + 4, 76 + 50 * column + 4, 2] for column in range(7)]
        assert int(np.argmax(cells)) == (row + 1) % 7


def test_the_picture_never_shows_more_than_there_is_and_refuses_nothing() -> None:
    images = dataset([0, 1, 2])
    assert TASK.draw(ReadsBrightness(), images, 99, 0).size == TASK.draw(ReadsBrightness(), images, 3, 0).size
    with pytest.raises(ValueError, match="at least one"):
        TASK.draw(ReadsBrightness(), images, 0, seed=0)


@pytest.mark.slow
@pytest.mark.parametrize("region", ["face", "eye"])
def test_federated_training_recognises_expressions_of_unseen_people(region: str) -> None:
    """Four clients of six people each; rounds of a third of an epoch, plain averaging by hand."""
    # the first 32 people's first 60 pictures of a set that other tests render too
    shown = load(region=region)
    first = np.flatnonzero(np.arange(len(shown)) % 70 < 60)
    training, test = unseen_people(shown.subset(first).of_subjects(np.arange(32)), 8, seed=0)
    torch.manual_seed(0)
    task = EmotionTask(label_smoothing=0.1)
    backbone = federate(task, EmotionCNN(training.image_shape), training, clients=4, rounds=36, steps=8)
    measured, baseline = task.evaluate(backbone, test), task.baseline(training, test)
    assert baseline["macro_f1"] < 0.06
    assert measured["macro_f1"] > {"face": 0.42, "eye": 0.35}[region]
