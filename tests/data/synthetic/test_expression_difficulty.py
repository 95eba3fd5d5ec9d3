"""Synthetic expressions need more than a linear model: on unseen people a small CNN is far ahead of ridge."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from fedpriv.data.synthetic.face_moods import draw_emotions
from fedpriv.data.synthetic_expressions import load, render_expressions
from tests.data.synthetic.small_cnn import network, outputs, standardised, train

PEOPLE, UNSEEN, IMAGES, NOISE = 60, 20, 70, 0.05


def expressions(first, people, region):
    images, labels = [], []
    for person in range(first, first + people):
        shown, labelled = draw_emotions(0, person, IMAGES, NOISE)
        images.append(render_expressions(0, person, shown.tolist(), region))
        labels.append(labelled)
    return standardised(np.concatenate(images)), np.concatenate(labels)


def ridge(images, labels, unseen, strengths):
    """Predict classes (M,) by ridge regression on one-hot labels, once for every strength."""
    flat, asked = images.reshape(len(images), -1), unseen.reshape(len(unseen), -1)
    mean = flat.mean(axis=0)
    flat, asked = flat - mean, asked - mean
    gram = flat.T @ flat
    moments = flat.T @ (np.eye(7, dtype=np.float32)[labels] - np.float32(1 / 7))
    for strength in strengths:
        weights = np.linalg.solve(gram + strength * np.eye(len(gram), dtype=np.float32), moments)
        yield (asked @ weights).argmax(axis=1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("region", "epochs", "linear_below", "cnn_above"), [("face", 10, 0.48, 0.75), ("eye", 11, 0.48, 0.53)]
)
def test_a_small_cnn_reads_unseen_people_and_ridge_does_not(region, epochs, linear_below, cnn_above):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    # rendered once for all tests
    training = load(people=PEOPLE, images_per_person=IMAGES, region=region, label_noise=NOISE, seed=0)
    images, labels = standardised(np.array(training.images)), training.targets
    unseen, asked = expressions(10_000, UNSEEN, region)
    majority = np.bincount(asked).max() / len(asked)
    # the best of three strengths, chosen on the test people in favour of the linear model
    linear = max(np.mean(found == asked) for found in ridge(images, labels, unseen, (300, 3000, 30000)))

    model = network(images.shape[1:], (16, 32, 48, 48), (2, 2, 2, 1), (48, 7))
    train(
        model,
        images,
        labels,
        epochs,
        3e-3,
        lambda logits, y, _: F.cross_entropy(logits, y),
        flip=region == "face",
    )
    learned = np.mean(outputs(model, unseen).argmax(axis=1) == asked)
    torch.set_num_threads(threads)

    figures = f"{region}: majority {majority:.3f} ridge {linear:.3f} CNN {learned:.3f}"
    assert linear < linear_below, figures
    assert learned > cnn_above, figures
    assert learned > linear + 0.10, figures
    assert learned > 2 * majority, figures
