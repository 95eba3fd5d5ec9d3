import math

import numpy as np
import pytest
import torch
from scipy.stats import chi2
from torch import nn

from fedpriv.privacy.dp_sgd import PrivateGradient
from fedpriv.privacy.noise import FastSource, RandomSource, SecureSource
from fedpriv.privacy.per_example import WAYS, per_example_gradients
from fedpriv.privacy.plan import SamplePlan
from fedpriv.tasks.emotion import EmotionTask
from fedpriv.training.data import ClientData
from fedpriv.training.local import LocalSettings, train_plain, train_private
from tests.training.tiny import TinyTask, convolutional, examples, flat, inputs, linear

PLAIN_SGD = LocalSettings(momentum=0.0, learning_rate=1.0)


class Scripted(RandomSource):
    """Chooses the examples it is told to, then adds no noise, or that of a seeded source."""

    name = "scripted"

    def __init__(self, *samples, noise=0.0):
        self._samples = list(samples)
        self._noise = noise
        self._fast = FastSource(11)
        self.drawn = 0

    def uniform(self, count):
        chosen = self._samples.pop(0)
        numbers = np.full(count, 1.0 - 2**-53)
        numbers[list(chosen)] = 0.0
        return numbers

    def normal(self, count):
        self.drawn += 1
        return self._noise * self._fast.normal(count)

    def words(self, count):
        raise AssertionError("DP-SGD draws no integers")


def plan(count, steps=1, noise=1.0, clip=0.5, rate=0.5):
    return SamplePlan(count, rate, steps, noise, clip, 1e-5, None)


def clipped_mean(model, data, chosen, clip, expected):
    """Brute force: one backward pass per example, clipped to norm ``clip``, summed, over ``expected``."""
    total = torch.zeros_like(flat(model))
    for index in chosen:
        one = ClientData(data.images[index : index + 1], data.targets[index : index + 1])
        loss = TinyTask().loss(model(inputs(one)), one.targets)
        gradient = torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(model.parameters()))])
        total += gradient * min(1.0, clip / (float(gradient.norm()) + 1e-6))
    return total / expected


@pytest.mark.parametrize("clip", [0.05, 0.5, 1e6])
@pytest.mark.parametrize("chosen", [[0], [1, 4, 7], list(range(8))])
def test_a_step_without_noise_is_the_mean_of_clipped_per_example_gradients(clip, chosen):
    data, model = examples(8), convolutional()
    expected = clipped_mean(model, data, chosen, clip, expected=4.0)
    before = flat(model).clone()
    train_private(TinyTask(), model, None, data, PLAIN_SGD, plan(8, clip=clip), Scripted(chosen))
    torch.testing.assert_close(before - flat(model), expected, rtol=1e-4, atol=1e-6)


def test_a_private_head_is_clipped_together_with_the_backbone():
    data = examples(8)
    whole = convolutional()
    backbone, head = whole[:5], whole[5:]
    expected = clipped_mean(whole, data, [1, 2], 0.1, expected=4.0)
    before = flat(whole).clone()
    train_private(TinyTask(), backbone, head, data, PLAIN_SGD, plan(8, clip=0.1), Scripted([1, 2]))
    torch.testing.assert_close(before - flat(whole), expected, rtol=1e-4, atol=1e-6)


def test_one_example_moves_the_sum_by_at_most_the_clipping_norm():
    data = examples(8)
    data.targets[3] = 1e4
    moved = []
    for chosen in ([1, 2], [1, 2, 3]):
        model = convolutional()
        train_private(TinyTask(), model, None, data, PLAIN_SGD, plan(8, clip=0.5), Scripted(chosen))
        moved.append(flat(model))
    sensitivity = 4.0 * float((moved[0] - moved[1]).norm())
    assert 0.49 < sensitivity <= 0.5 * (1 + 1e-4)


class Coupled(RandomSource):
    """Samples everybody, adds no noise, and deals each example that is kept its own column of draws."""

    name = "coupled"

    def __init__(self, draws, kept):
        self._draws, self._kept = draws, kept
        self._asked = 0

    def uniform(self, count):
        self._asked += 1
        return np.zeros(count) if self._asked == 1 else self._draws[:, self._kept].ravel()

    def normal(self, count):
        return np.zeros(count)

    def words(self, count):
        raise AssertionError("DP-SGD draws no integers")


@pytest.mark.parametrize("removed", [0, 5, 31])
@pytest.mark.parametrize("task", [EmotionTask(), EmotionTask(augmentation=0.0), EmotionTask(mirror=False)])
def test_guarantee_one_image_moves_the_sum_of_augmented_images_by_at_most_the_clipping_norm(task, removed):
    """By the coupling that the proof takes: draws are independent, so those of the others may be the same."""
    count, random = 32, torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (count, 1, 16, 16), generator=random, dtype=torch.uint8)
    targets = torch.randint(0, 7, (count,), generator=random)
    draws = np.random.default_rng(0).random((7, count))
    everybody = np.arange(count)
    sums = []
    for kept in (everybody, np.delete(everybody, removed)):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(1, 4, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(196, 7))
        before, made = flat(model).clone(), plan(len(kept), clip=0.5, rate=1.0)
        data = ClientData(images[kept], targets[kept])
        train_private(task, model, None, data, PLAIN_SGD, made, Coupled(draws, kept))
        sums.append((before - flat(model)) * made.expected_batch)
    assert 0.49 < float((sums[0] - sums[1]).norm()) <= 0.5 * (1 + 1e-4)


def test_guarantee_augmentation_is_drawn_by_the_mechanism_anew_in_every_step_and_part(monkeypatch):
    monkeypatch.setattr(PrivateGradient, "most_at_once", 3)
    drawn = []

    class Listening(TinyTask):
        def augment(self, inputs, draw):
            drawn.append(draw(2, len(inputs)))
            return inputs

    for source in (FastSource(1), FastSource(1), FastSource(2), SecureSource(), SecureSource()):
        train_private(Listening(), linear(), None, examples(8), PLAIN_SGD, plan(8, steps=2, rate=1.0), source)
    assert [each.shape for each in drawn] == 10 * [(2, 3), (2, 3), (2, 2)]
    assert all(each.dtype == torch.float32 for each in drawn)
    flattened = torch.stack(
        [torch.cat([part.flatten() for part in drawn[i : i + 6]]) for i in range(0, 30, 6)]
    )
    assert torch.equal(flattened[0], flattened[1])
    others = flattened[1:].flatten()
    # the smallest part has 4 numbers; by chance two of the 128, of 24 bits, are equal in one run of 4,000,
    # and four such pairs in one of 1e16
    assert len(others.unique()) > len(others) - 4
    assert 0.0 <= float(others.min()) < 0.1 < 0.9 < float(others.max()) <= 1.0


class Flat(TinyTask):
    def loss(self, outputs, targets):
        return 0.0 * outputs.sum() / len(targets)


def test_guarantee_noise_has_standard_deviation_multiplier_times_norm_over_the_expected_batch():
    data = examples(8)
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 4000, bias=False), nn.Linear(4000, 1))
    before = flat(model).clone()
    train_private(Flat(), model, None, data, PLAIN_SGD, plan(8, noise=3.0, clip=0.5), FastSource(4))
    change = (flat(model) - before).double().numpy()
    squares, count = float(np.sum((change / (3.0 * 0.5 / 4.0)) ** 2)), change.size
    assert chi2.ppf(1e-6, count) < squares < chi2.isf(1e-6, count)
    # one draw for all: no two parameters share their noise
    assert len(np.unique((flat(model) - before).numpy())) > 0.9 * count


def test_edge_an_empty_sample_takes_a_noisy_step():
    data, model = examples(8), convolutional()
    before, source = flat(model).clone(), Scripted([], noise=1.0)
    loss = train_private(TinyTask(), model, None, data, PLAIN_SGD, plan(8), source)
    assert source.drawn == 1
    expected = FastSource(11).normal(before.numel()).astype(np.float32) * 0.5 / 4.0
    np.testing.assert_allclose((before - flat(model)).numpy(), expected, rtol=1e-3, atol=1e-6)
    assert math.isnan(loss)


def test_edge_the_loss_of_an_empty_sample_is_left_out_of_the_mean():
    losses = []
    for samples in ([[1, 2]], [[1, 2], []], [[], [1, 2]]):
        model, source = convolutional(), Scripted(*samples)
        made = plan(8, steps=len(samples))
        losses.append(train_private(TinyTask(), model, None, examples(8), PLAIN_SGD, made, source))
    assert losses[0] == losses[1] == losses[2]


def test_guarantee_exactly_the_accounted_number_of_noisy_steps_is_taken(monkeypatch):
    taken = []
    monkeypatch.setattr(
        torch.optim.SGD,
        "step",
        lambda self, *_: taken.append([p.grad.clone() for g in self.param_groups for p in g["params"]]),
    )
    source = Scripted([1], [], [2, 3], [], [0], noise=1.0)
    made = plan(8, steps=5)
    train_private(TinyTask(), convolutional(), None, examples(8), PLAIN_SGD, made, source)
    assert len(taken) == source.drawn == made.after_round(())[0][2] == 5
    # frozen weights: each step has its own noise
    norms = {float(torch.cat([g.flatten() for g in gradients]).norm()) for gradients in taken}
    assert len(norms) == 5


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_edge_an_example_whose_gradient_is_not_finite_contributes_zero(bad):
    data, model = examples(8), convolutional()
    expected = clipped_mean(model, data, [1, 2], 0.5, expected=4.0)
    data.targets[5] = bad
    before = flat(model).clone()
    train_private(TinyTask(), model, None, data, PLAIN_SGD, plan(8), Scripted([1, 5, 2]))
    torch.testing.assert_close(before - flat(model), expected, rtol=1e-4, atol=1e-6)


def test_edge_a_gradient_whose_norm_overflows_contributes_zero():
    data, model = examples(4), linear()
    data.targets[2] = 1e30
    before = flat(model).clone()
    train_private(TinyTask(), model, None, data, PLAIN_SGD, plan(4), Scripted([2]))
    assert torch.equal(before, flat(model))


def test_the_proximal_pull_is_added_after_the_noise():
    data, mu = examples(4), 0.3
    model, brute = linear(), linear()
    start = flat(brute).clone()
    for chosen in ([0, 1], [2, 3]):
        gradient = clipped_mean(brute, data, chosen, 0.5, expected=2.0) + mu * (flat(brute) - start)
        nn.utils.vector_to_parameters(flat(brute) - gradient, brute.parameters())
    settings = LocalSettings(momentum=0.0, learning_rate=1.0, proximal_mu=mu)
    train_private(TinyTask(), model, None, data, settings, plan(4, steps=2), Scripted([0, 1], [2, 3]))
    torch.testing.assert_close(flat(model), flat(brute), rtol=1e-4, atol=1e-6)


def test_hooks_are_gone_afterwards_and_rounds_can_follow_each_other():
    data, model = examples(8), convolutional()
    before = {name: set(vars(module)) for name, module in model.named_modules()}
    for _ in range(2):
        train_private(TinyTask(), model, None, data, PLAIN_SGD, plan(8, noise=0.01), FastSource(1))
    for name, module in model.named_modules():
        assert not module._forward_hooks
        assert not module._backward_hooks
        assert set(vars(module)) == before[name]
    for parameter in model.parameters():
        # per-example gradients are the private data's, and large
        assert not vars(parameter)
        assert parameter.grad is None
    twin = convolutional()
    twin.load_state_dict(model.state_dict())
    for module in (model, twin):
        train_plain(TinyTask(), module, None, data, PLAIN_SGD, seed=0)
    assert torch.equal(flat(model), flat(twin))


def test_hooks_are_gone_after_an_error_too():
    class Broken(TinyTask):
        def loss(self, outputs, targets):
            raise RuntimeError("planted")

    model = convolutional()
    with pytest.raises(RuntimeError, match="planted"):
        train_private(Broken(), model, None, examples(8), PLAIN_SGD, plan(8), Scripted([1]))
    assert not any(module._forward_hooks or hasattr(module, "activations") for module in model.modules())
    train_private(TinyTask(), model, None, examples(8), PLAIN_SGD, plan(8), Scripted([1]))


@pytest.mark.parametrize(
    "layer", [nn.BatchNorm2d(3), nn.InstanceNorm2d(3, track_running_stats=True, affine=True)]
)
def test_layers_that_mix_or_remember_examples_are_refused(layer):
    model = nn.Sequential(layer, *linear())
    with pytest.raises(ValueError, match=r"batch norm|running"), per_example_gradients(model):
        pytest.fail("not refused")
    assert not any(module._forward_hooks for module in model.modules())


def test_data_other_than_planned_is_refused():
    with pytest.raises(ValueError, match="the plan is for 7 examples, the client has 8"):
        train_private(TinyTask(), linear(), None, examples(8), PLAIN_SGD, plan(7), Scripted([1]))


def test_a_fast_source_makes_private_training_reproducible():
    trained = []
    for seed in (1, 1, 2):
        model = convolutional()
        train_private(TinyTask(), model, None, examples(8), PLAIN_SGD, plan(8, steps=4), FastSource(seed))
        trained.append(flat(model))
    assert torch.equal(trained[0], trained[1])
    assert not torch.equal(trained[0], trained[2])


def test_a_step_draws_one_vector_of_noise():
    model = linear()
    source = Scripted(noise=1.0)
    with per_example_gradients(model) as examples:
        PrivateGradient(examples, model, plan(8), source).release()
    assert source.drawn == 1


@pytest.mark.parametrize("gradients", WAYS)
@pytest.mark.parametrize("most_bytes", [1, 1 << 30])
def test_guarantee_a_sample_taken_in_parts_gives_the_same_step(monkeypatch, gradients, most_bytes):
    monkeypatch.setattr("fedpriv.privacy.dp_sgd.MOST_BYTES", most_bytes)
    data, model, chosen = examples(8), convolutional(), [0, 2, 3, 7]
    data.targets[3] = float("inf")
    expected = clipped_mean(model, data, [0, 2, 7], 0.5, expected=4.0)
    before = flat(model).clone()
    train_private(TinyTask(), model, None, data, PLAIN_SGD, plan(8), Scripted(chosen), gradients=gradients)
    torch.testing.assert_close(before - flat(model), expected, rtol=1e-4, atol=1e-6)


def test_edge_a_parameter_that_the_loss_does_not_reach_gets_noise_all_the_same():
    class Around(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.idle = linear(), nn.Linear(3, 3)

        def forward(self, x):
            return self.used(x)

    model = Around()
    before = model.idle.weight.detach().clone()
    source = Scripted([1, 2], noise=1.0)
    train_private(TinyTask(), model, None, examples(8), PLAIN_SGD, plan(8), source)
    assert (model.idle.weight != before).all()


class Pixels(nn.Module):
    """Folds the positions of an image into the batch: what it calls an example is part of one."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(1, 1)

    def forward(self, x):
        return self.layer(x.reshape(-1, 1)).reshape(len(x), -1).mean(1, keepdim=True)


class Mixed(nn.Module):
    """Adds one learned number, made by a batch of one, to the outputs."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(12, 1)

    def forward(self, x):
        return self.layer(x.flatten(1)) + self.layer(torch.ones(1, 12))


@pytest.mark.parametrize("gradients", WAYS)
def test_an_example_that_would_be_clipped_in_pieces_is_refused(gradients):
    model = Pixels()
    before = flat(model).clone()
    with pytest.raises(ValueError, match="saw a batch of 24 where 2 examples were given"):
        train_private(
            TinyTask(), model, None, examples(8), PLAIN_SGD, plan(8), Scripted([1, 2]), None, gradients
        )
    assert torch.equal(flat(model), before)


def test_batches_of_different_sizes_in_one_layer_are_refused():
    model = Mixed()
    before = flat(model).clone()
    with pytest.raises(ValueError, match=r"saw batches of sizes \[1, 3\]"):
        train_private(TinyTask(), model, None, examples(8), PLAIN_SGD, plan(8), Scripted([1, 2, 3]))
    assert torch.equal(flat(model), before)
