"""Canaries as examples of DP-SGD: sampled, clipped and added as all are; real examples notice nothing."""

import numpy as np
import pytest
import torch
from torch import nn

from fedpriv.privacy.canaries import LOUDNESS, Canaries
from fedpriv.privacy.canary_examples import CanaryExamples
from fedpriv.privacy.dp_sgd import PrivateGradient
from fedpriv.privacy.per_example import WAYS, per_example_gradients
from fedpriv.training.local import LocalSettings, train_private
from tests.training.test_train_private import PLAIN_SGD, Scripted, clipped_mean, plan
from tests.training.tiny import TinyTask, convolutional, examples, flat

REAL, COUNT, CLIP = 8, 6, 0.5


def planted(model, count=COUNT, seed=4):
    return Canaries.plant(count, 0, len(flat(model)), seed)


def stepped(model, rows, canaries, clip=CLIP, head=None, ways="auto", settings=PLAIN_SGD, steps=1):
    """Take steps without noise on these rows of 8 examples and the canaries after them."""
    whole = model if head is None else nn.Sequential(model, head)
    before = flat(whole).clone()
    made, source = plan(REAL, clip=clip, steps=steps), Scripted(*[rows] * steps)
    given = {"gradients": ways, "canaries": canaries}
    train_private(TinyTask(), model, head, examples(REAL), settings, made, source, **given)
    return flat(whole) - before


def clipped_directions(canaries, rows, clip=CLIP):
    """The sum of the clipped gradients of canaries, from their directions alone."""
    total = np.zeros(canaries.directions.dimension)
    for row in rows:
        if canaries.included[row]:
            total += clip * canaries.directions.update(row, 1.0)
    return torch.from_numpy(total.astype(np.float32))


@pytest.mark.parametrize("ways", WAYS)
@pytest.mark.parametrize("rows", [[0, 3], [8, 9, 10, 11, 12, 13], [1, 2, 8, 10], []])
def test_a_step_is_that_of_the_real_examples_and_a_clipping_norm_along_each_canary(rows, ways):
    model, canaries = convolutional(), planted(convolutional())
    real = [row for row in rows if row < REAL]
    loud = [row - REAL for row in rows if row >= REAL]
    # the divisor is that of the run without canaries: rate 1/2 of 8 examples
    expected = clipped_directions(canaries, loud) / 4.0 - clipped_mean(
        model, examples(REAL), real, CLIP, expected=4.0
    )
    moved = stepped(model, rows, canaries, ways=ways)
    torch.testing.assert_close(moved, expected, rtol=1e-4, atol=1e-6)


def test_sampling_reaches_canaries_with_the_rate_of_all_examples():
    model, canaries = convolutional(), planted(convolutional())
    sizes = []

    class Counting(Scripted):
        def uniform(self, count):
            sizes.append(count)
            return super().uniform(count)

    train_private(
        TinyTask(), model, None, examples(REAL), PLAIN_SGD, plan(REAL), Counting([0]), canaries=canaries
    )
    assert sizes == [REAL + COUNT]


def test_a_sample_taken_in_parts_is_the_sample(monkeypatch):
    whole, parted = convolutional(), convolutional()
    canaries, rows = planted(whole), [0, 2, 5, 7, 8, 9, 11, 13]
    expected = stepped(whole, rows, canaries)
    monkeypatch.setattr(PrivateGradient, "most_at_once", 3)
    torch.testing.assert_close(stepped(parted, rows, canaries), expected, rtol=1e-5, atol=1e-7)


def test_a_head_has_no_part_in_canaries_and_is_trained_as_without():
    everything = convolutional()
    backbone, head = everything[:5], everything[5:]
    canaries = planted(backbone)
    rows = [1, 2, *range(REAL, REAL + COUNT)]
    loud = clipped_directions(canaries, range(COUNT)) / 4.0
    expected = -clipped_mean(everything, examples(REAL), [1, 2], CLIP, expected=4.0)
    expected[: len(loud)] += loud
    moved = stepped(backbone, rows, canaries, head=head)
    torch.testing.assert_close(moved, expected, rtol=1e-4, atol=1e-6)


def test_frozen_parameters_stay_and_what_is_left_of_a_canary_is_clipped_to_the_same_norm():
    model = convolutional()
    model[0].weight.requires_grad_(False)
    frozen = model[0].weight.numel()
    canaries = planted(model)
    moved = stepped(model, list(range(REAL, REAL + COUNT)), canaries)
    assert not moved[:frozen].any()
    norms = [
        float(np.linalg.norm(moved.numpy()[canaries.directions.sparse(i, 1.0).places])) for i in range(COUNT)
    ]
    assert norms == pytest.approx([CLIP / 4.0 * coin for coin in canaries.included], rel=1e-5)


@pytest.mark.parametrize(
    "settings",
    [
        LocalSettings(momentum=0.9, learning_rate=0.1),
        LocalSettings(optimizer="adam", learning_rate=0.01),
        LocalSettings(momentum=0.0, learning_rate=0.1, weight_decay=0.01, proximal_mu=0.5),
    ],
)
def test_with_any_optimiser_the_model_moves_along_the_canaries_that_are_in(settings):
    model = convolutional()
    canaries = planted(model)
    moved = stepped(model, list(range(REAL, REAL + COUNT)), canaries, settings=settings, steps=3)
    heard = canaries.directions.along(moved.numpy())
    assert heard[canaries.included].min() > 10 * np.abs(heard[~canaries.included]).max()


def test_norms_are_the_real_ones_and_those_of_the_canaries_behind_them():
    model = convolutional()
    canaries = planted(model)
    data = examples(REAL)
    with per_example_gradients(model) as own:
        wrapped = CanaryExamples(own, model, canaries, CLIP)
        rows = wrapped.take(torch.tensor([0, 4, 8, 9, 13]), REAL)
        assert rows.tolist() == [0, 4]
        TinyTask().loss(wrapped.model(TinyTask().preprocess(data.batch(rows))), data.targets[rows]).backward()
        norms = wrapped.norms()
        torch.testing.assert_close(norms[:2], own.norms())
        loud = [LOUDNESS * CLIP * canaries.included[row] for row in (0, 1, 5)]
        torch.testing.assert_close(norms[2:], torch.tensor(loud, dtype=torch.float32))
        wrapped.forget()


def test_clipping_that_is_switched_off_shows(monkeypatch):
    """The canaries go through the clipping of all examples, not through one of their own."""

    @torch.no_grad()
    def unclipped(self, count):
        norms = self._examples.norms()
        self._examples.add_scaled(torch.ones_like(norms), self._sums)
        self._examples.forget()

    monkeypatch.setattr(PrivateGradient, "add", unclipped)
    model = convolutional()
    canaries = planted(model)
    moved = stepped(model, list(range(REAL, REAL + COUNT)), canaries)
    heard = canaries.directions.along(moved.numpy())
    assert heard[canaries.included] == pytest.approx(LOUDNESS * CLIP / 4.0, rel=1e-5)
