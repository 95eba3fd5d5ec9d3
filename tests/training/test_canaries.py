"""Canary examples: what they do to a step of DP-SGD, and what they leave alone."""

import math

import numpy as np
import pytest
import torch

from fedpriv.privacy.canaries import LOUDNESS
from fedpriv.privacy.noise import FastSource
from fedpriv.privacy.plan import SamplePlan
from fedpriv.training.canaries import (
    ListeningModel,
    losses_of,
    with_gradient_canaries,
    with_image_canaries,
)
from fedpriv.training.data import ClientData
from fedpriv.training.local import LocalSettings, train_private
from tests.training.tiny import TinyTask, convolutional, examples, flat

NORM, RATE = 0.5, 0.1
INCLUDED = np.array([True, False, True, False, False])


def step(task, model, data, noise=0.0, clipping_norm=NORM, gradients="auto"):
    """One step of DP-SGD on every example; the sum of what was added to each parameter."""
    plan = SamplePlan(len(data), 1.0, 1, noise, clipping_norm, 1e-5, None)
    before = flat(model)
    settings = LocalSettings(learning_rate=RATE, momentum=0.0)
    train_private(task, model, None, data, settings, plan, FastSource(4), gradients=gradients)
    return (flat(model) - before) * len(data) / RATE


@pytest.mark.parametrize("gradients", ["auto", "opacus"])
def test_a_gradient_canary_is_clipped_to_the_norm_and_leaves_the_model_alone(gradients):
    data, alone, listening = examples(8), convolutional(), ListeningModel(convolutional(), len(INCLUDED))
    task, rows = with_gradient_canaries(TinyTask(), data, INCLUDED, NORM)
    without = step(TinyTask(), alone, data, gradients=gradients)
    found = step(task, listening, rows, gradients=gradients)
    torch.testing.assert_close(found[: len(without)], without, rtol=1e-4, atol=1e-5)
    assert without.norm() > 0.1
    np.testing.assert_allclose(found[len(without) :], NORM * INCLUDED, atol=1e-4)
    np.testing.assert_allclose(listening.heard() * len(rows) / RATE, NORM * INCLUDED, atol=1e-4)


def test_a_gradient_canary_gives_missing_clipping_away():
    listening = ListeningModel(convolutional(), len(INCLUDED))
    task, rows = with_gradient_canaries(TinyTask(), examples(8), INCLUDED, NORM)
    step(task, listening, rows, clipping_norm=1e6)
    np.testing.assert_allclose(listening.heard() * len(rows) / RATE, LOUDNESS * NORM * INCLUDED, rtol=1e-4)


def test_a_gradient_canary_gets_the_noise_of_the_step():
    many = np.zeros(4000, np.bool_)
    listening = ListeningModel(convolutional(), len(many))
    task, rows = with_gradient_canaries(TinyTask(), examples(8), many, NORM)
    step(task, listening, rows, noise=3.0)
    heard = listening.heard() * len(rows) / RATE
    assert heard.std() == pytest.approx(3.0 * NORM, rel=4 / math.sqrt(2 * len(many)))


def test_an_image_canary_that_is_out_is_as_if_it_were_not_there():
    data, pictures = examples(8), ClientData(255 - examples(5).images, torch.linspace(-3, 3, 5))
    task, rows = with_image_canaries(TinyTask(), data, pictures, INCLUDED)
    kept = torch.from_numpy(INCLUDED)
    only = ClientData(
        torch.cat([data.images, pictures.images[kept]]), torch.cat([data.targets, pictures.targets[kept]])
    )
    found, expected = step(task, convolutional(), rows), step(TinyTask(), convolutional(), only)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    nothing = step(*with_both(data, pictures, np.zeros(5, np.bool_)))
    torch.testing.assert_close(nothing, step(TinyTask(), convolutional(), data), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(found, nothing, atol=1e-3)


def with_both(data, pictures, included):
    task, rows = with_image_canaries(TinyTask(), data, pictures, included)
    return task, convolutional(), rows


def test_a_batch_of_canaries_that_are_out_has_a_gradient_of_zero():
    task, rows = with_gradient_canaries(TinyTask(), examples(2), np.zeros(3, np.bool_), NORM)
    listening = ListeningModel(convolutional(), 3)
    loss = task.loss(listening(task.preprocess(rows.images[2:])), rows.targets[2:])
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert all(not parameter.grad.any() for parameter in listening.parameters())


def test_losses_are_those_of_single_examples_and_the_mode_is_left_as_found():
    task, model, data = TinyTask(), convolutional().train(), examples(9)
    found = losses_of(task, model, data)
    for index in range(9):
        outputs = model(task.preprocess(data.images[index : index + 1]))
        loss = task.loss(outputs, data.targets[index : index + 1]).detach()
        assert found[index] == pytest.approx(float(loss))
    assert model.training
