import math

import numpy as np
import pytest
import torch
from torch import nn

from fedpriv.data.dataset import ImageDataset
from fedpriv.tasks.classification import ClassificationTask

TASK = ClassificationTask()


def dataset(targets, channels=1, size=4):
    """Images whose brightness is 20 times their class."""
    targets = np.asarray(targets, dtype=np.int64)
    images = np.broadcast_to(
        (20 * targets).astype(np.uint8)[:, None, None, None], (len(targets), channels, size, size)
    ).copy()
    return ImageDataset("test", images, targets, np.zeros(len(targets), np.int64), ("one",))


class ReadsBrightness(nn.Module):
    """Answers the class that the brightness states; ``shift`` makes it wrong."""

    def __init__(self, shift=0):
        super().__init__()
        self.shift = shift
        self.dropout = nn.Dropout(0.9)

    def forward(self, images):
        level = (images.mean(dim=(1, 2, 3)) + 1) * 127.5 / 20
        guess = (level.round().long() + self.shift) % 12
        return self.dropout(nn.functional.one_hot(guess, 12).float())


def test_the_outputs_are_the_classes_of_the_training_images():
    assert TASK.outputs(dataset([0, 3, 1])) == 4


def test_the_loss_is_the_mean_negative_log_softmax():
    logits, targets = torch.tensor([[1.0, 2.0, 0.0], [0.0, 0.0, 5.0]]), torch.tensor([1, 0])
    by_hand = [
        math.log(math.e + math.e**2 + 1) - 2.0,
        math.log(2 + math.e**5),
    ]
    assert float(TASK.loss(logits, targets)) == pytest.approx(sum(by_hand) / 2, rel=1e-6)


def test_accuracy_counts_right_answers_over_several_batches():
    images = dataset(np.arange(1100) % 12)
    assert TASK.evaluate(ReadsBrightness(), images) == {"accuracy": 1.0}
    assert TASK.evaluate(ReadsBrightness(shift=1), images) == {"accuracy": 0.0}
    spoiled = ImageDataset(
        "test",
        images.images,
        np.where(np.arange(1100) < 275, 11 - images.targets, images.targets),
        images.subjects,
        ("one",),
    )
    assert TASK.evaluate(ReadsBrightness(), spoiled)["accuracy"] == pytest.approx(0.75)


def test_evaluation_switches_dropout_off_and_leaves_the_mode_as_it_was():
    for training in (True, False):
        model = ReadsBrightness().train(training)
        assert TASK.evaluate(model, dataset(range(12)))["accuracy"] == 1.0
        assert model.training is training


def test_the_baseline_answers_the_most_frequent_training_class():
    assert TASK.baseline(dataset([2, 2, 1]), dataset([2, 1, 1, 1])) == {"accuracy": 0.25}


@pytest.mark.parametrize("channels", [1, 3])
def test_the_picture_shows_right_answers_green_and_wrong_ones_red(channels):
    images = dataset(range(1, 9), channels, size=16)
    for shift in (0, 1):
        sheet = np.asarray(TASK.draw(ReadsBrightness(shift), images, 8, seed=0)).astype(int)
        greener = sheet[..., 1] - sheet[..., 0]
        # edges of letters are blended with the white sheet
        assert (greener.max() > 60, greener.min() < -60) == (shift == 0, shift == 1)


def test_the_picture_shows_as_many_images_as_asked_and_there_are():
    images = dataset(range(1, 9), size=16)
    one_row = TASK.draw(ReadsBrightness(), images, 6, seed=0)
    two_rows = TASK.draw(ReadsBrightness(), images, 100, seed=0)
    assert two_rows.size == (one_row.size[0], 2 * one_row.size[1])
    again = TASK.draw(ReadsBrightness(), images, 6, seed=0)
    assert np.array_equal(np.asarray(one_row), np.asarray(again))
