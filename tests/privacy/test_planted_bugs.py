"""The usual bugs of private training, each planted in the real code and noticed by a check that else passes.

Every check is of a whole training loop or run, from outside, and raises a false alarm with probability
below 1e-6. Those of client-level privacy (no noise, noise scaled for the asked and not for the answering
clients, updates that were not clipped) stand with its runs, in ``tests/federated/test_client_level.py``.
"""

import itertools

import numpy as np
import pytest
import torch
from opacus.accountants import RDPAccountant
from scipy.stats import binom, chi2
from torch import nn

from fedpriv.federated import client_app
from fedpriv.privacy import accounting, dp_sgd
from fedpriv.privacy.dp_sgd import PrivateGradient
from fedpriv.privacy.layer_gradients import LayerGradients
from fedpriv.privacy.noise import RandomSource, SecureSource
from fedpriv.privacy.plan import SamplePlan
from fedpriv.runner import run
from fedpriv.training.local import LocalSettings, train_private
from fedpriv.training.party import ClientMemory
from tests.training.tiny import TinyTask, convolutional, examples, flat, linear

RARE = 1e-8
PLAIN_SGD = LocalSettings(momentum=0.0, learning_rate=1.0)
NOISE, CLIP = 2.0, 0.5


def plan(count, steps, rate):
    return SamplePlan(count, rate, steps, NOISE, CLIP, 1e-5, None)


class Flat(TinyTask):
    """No example has a gradient: what moves the model is noise."""

    def loss(self, outputs, targets):
        return 0.0 * outputs.sum() / len(targets)


def _require_noise_of_every_step(steps, rate):
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 500, bias=False), nn.Linear(500, 1))
    before, made = flat(model).clone(), plan(8, steps, rate)
    train_private(Flat(), model, None, examples(8), PLAIN_SGD, made, SecureSource())
    moved = (flat(model) - before).double().numpy() * made.expected_batch / (NOISE * CLIP)
    squares, freedom = float(np.sum(moved**2)) / steps, len(moved)
    assert chi2.ppf(RARE, freedom) < squares < chi2.isf(RARE, freedom)


def require_noise():
    """Steps move the model by N(0, (noise multiplier x clipping norm / expected batch)^2), each anew."""
    _require_noise_of_every_step(steps=3, rate=0.5)


def require_noise_of_empty_samples():
    """So they do when most samples are empty: 85 in 100 here."""
    _require_noise_of_every_step(steps=40, rate=0.02)


class Drawn(RandomSource):
    """Draws the samples that it is told to, and no noise."""

    name = "drawn"

    def __init__(self, *samples):
        self._samples = list(samples)

    def uniform(self, count):
        numbers = np.full(count, 1.0 - 2**-53)
        numbers[self._samples.pop(0)] = 0.0
        return numbers

    def normal(self, count):
        return np.zeros(count)

    def words(self, count):
        raise AssertionError("DP-SGD draws no integers")


def require_bounded_influence():
    """One example, however far off, moves the sum by the clipping norm and no more; so do ordinary ones."""
    data, made = examples(8), plan(8, 1, 0.5)
    data.targets[3] = 1e4
    sums = []
    for sample in ([1, 2, 3, 5], [1, 2, 5], [1, 2]):
        model = convolutional()
        before = flat(model).clone()
        train_private(TinyTask(), model, None, data, PLAIN_SGD, made, Drawn(sample))
        sums.append((flat(model) - before) * made.expected_batch)
    far, ordinary = (float((one - other).norm()) for one, other in itertools.pairwise(sums))
    assert 0.99 * CLIP < far <= CLIP * (1 + 1e-4)
    assert ordinary <= CLIP * (1 + 1e-4)


def require_poisson_samples():
    """Each step takes each of 20 examples with probability 1/4, independently of all else."""
    count, rate, steps = 20, 0.25, 400
    task, made = TinyTask(), plan(count, steps, rate)
    train_private(task, linear(), None, examples(count), PLAIN_SGD, made, SecureSource())
    taken = np.zeros((steps, count), bool)
    assert len(task.seen) >= steps - binom.isf(RARE, steps, (1 - rate) ** count)
    for row, seen in zip(taken, task.seen, strict=False):
        row[seen.numpy()] = True

    def is_binomial(found, trials, chance):
        assert binom.ppf(RARE, trials, chance) <= found <= binom.isf(RARE, trials, chance)

    is_binomial(taken.sum(), steps * count, rate)
    # sizes vary: one of five samples has the mean size, and not all of them
    is_binomial((taken.sum(1) == rate * count).sum(), steps, binom.pmf(rate * count, count, rate))
    # so does how often an example is taken: one of twenty exactly as often as it is expected
    is_binomial((taken.sum(0) == rate * steps).sum(), count, binom.pmf(rate * steps, steps, rate))
    # what was taken in one step says nothing of the next
    is_binomial((taken[::2] & taken[1::2]).sum(), steps // 2 * count, rate**2)


@pytest.fixture
def require_cumulative_epsilon(tiny):
    """The epsilon of every round is that of an accountant that has seen all steps since the first."""

    def check():
        config = tiny(
            "privacy=dp_sgd",
            "privacy.epsilon=null",
            "privacy.noise_multiplier=1.0",
            "federation.rounds=3",
            "training.batch_size=8",
        )
        report = run(config)
        # all clients hold 16 images
        for result in report.history[1:]:
            straight = RDPAccountant()
            for _ in range(2 * result.number):
                straight.step(noise_multiplier=1.0, sample_rate=0.5)
            rdp, exact = straight.get_epsilon(1e-5), accounting._prv(tuple(straight.history), 1e-5)
            assert result.epsilon == pytest.approx(min(rdp, exact), rel=1e-9)

    return check


CHECKS = (
    require_noise,
    require_noise_of_empty_samples,
    require_bounded_influence,
    require_poisson_samples,
)


@pytest.mark.parametrize("check", CHECKS)
def test_the_honest_code_passes(check):
    check()


def test_the_honest_run_passes(require_cumulative_epsilon):
    require_cumulative_epsilon()


def noise_off(patch):
    patch.setattr(SecureSource, "normal", lambda self, count: np.zeros(count))


def noise_without_the_clipping_norm(patch):
    patch.setattr(SecureSource, "normal", _scaled(SecureSource.normal, 1.0 / CLIP))


def noise_of_the_mean(patch):
    """The standard deviation is right for the sum, and is divided by the batch twice."""
    patch.setattr(SecureSource, "normal", _scaled(SecureSource.normal, 1.0 / 4.0))


def _scaled(normal, factor):
    return lambda self, count: normal(self, count) * factor


def the_same_noise_in_every_step(patch):
    kept = {}
    normal = SecureSource.normal
    patch.setattr(SecureSource, "normal", lambda self, count: kept.setdefault(count, normal(self, count)))


def empty_samples_skipped(patch):
    """As ``if not len(batch): continue`` does."""
    add, release = PrivateGradient.add, PrivateGradient.release

    def note(self, count):
        self.any = True
        add(self, count)

    def skip(self):
        if vars(self).pop("any", False):
            return release(self)
        for parameter in self._parameters:
            parameter.grad = None
        return None

    patch.setattr(PrivateGradient, "add", note)
    patch.setattr(PrivateGradient, "release", skip)


def clip_off(patch):
    patch.setattr(LayerGradients, "norms", lambda self: torch.zeros_like(_norms(self)))


def the_batch_clipped_as_one(patch):
    patch.setattr(LayerGradients, "norms", lambda self: _norms(self).mean().expand(len(_norms(self))))


_norms = LayerGradients.norms


def layers_clipped_one_by_one(patch):
    """Each parameter's gradient has norm C at most, and so all of them together more."""
    add_scaled = LayerGradients.add_scaled

    def one_by_one(self, factors, sums):
        found, parameters = dict(self._found), list(self._parameters)
        for parameter, total in zip(parameters, sums, strict=True):
            self._found, self._parameters = {parameter: found[parameter]}, [parameter]
            add_scaled(self, (CLIP / (_norms(self) + 1e-6)).clamp(max=1.0), [total])
        self._found, self._parameters = found, parameters

    patch.setattr(LayerGradients, "add_scaled", one_by_one)


def shuffled(patch):
    """Permutations cut into batches, as data loaders do."""
    left = []

    def batch(made, source):
        if not left:
            order = np.argsort(source.uniform(made.examples))
            left.extend(np.array_split(order, round(1 / made.sample_rate)))
        return left.pop()

    patch.setattr(dp_sgd, "poisson_sample", batch)


def fixed_size(patch):
    """Batches of one size, drawn anew in every step."""

    def batch(made, source):
        return np.argsort(source.uniform(made.examples))[: round(made.expected_batch)]

    patch.setattr(dp_sgd, "poisson_sample", batch)


def the_same_samples_again_and_again(patch):
    kept, sample = [], dp_sgd.poisson_sample

    def draw(made, source):
        if len(kept) < 2:
            kept.append(sample(made, source))
            return kept[-1]
        kept.reverse()
        return kept[0]

    patch.setattr(dp_sgd, "poisson_sample", draw)


@pytest.mark.parametrize(
    ("check", "bug"),
    [
        (require_noise, noise_off),
        (require_noise, noise_without_the_clipping_norm),
        (require_noise, noise_of_the_mean),
        (require_noise, the_same_noise_in_every_step),
        (require_noise_of_empty_samples, empty_samples_skipped),
        (require_bounded_influence, clip_off),
        (require_bounded_influence, the_batch_clipped_as_one),
        (require_bounded_influence, layers_clipped_one_by_one),
        (require_poisson_samples, shuffled),
        (require_poisson_samples, fixed_size),
        (require_poisson_samples, the_same_samples_again_and_again),
    ],
)
def test_planted_in_the_training_loop_it_is_noticed(monkeypatch, check, bug):
    bug(monkeypatch)
    with pytest.raises(AssertionError):
        check()


def accountant_reset_every_round(patch):
    def afresh(self, history):
        return accounting.extend((), (self.noise_multiplier, self.sample_rate, self.steps_per_round))

    patch.setattr(SamplePlan, "after_round", afresh)


def clients_forget(patch):
    """What they hold themselves and what their ledger holds: either alone gives the other back."""
    patch.setattr(client_app, "recall", lambda *_: ClientMemory())
    patch.setattr(accounting, "at_least", lambda own, _charged: own)


def accountant_told_one_step_a_round(patch):
    def once(self, history):
        return accounting.extend(history, (self.noise_multiplier, self.sample_rate, 1))

    patch.setattr(SamplePlan, "after_round", once)


@pytest.mark.parametrize(
    "bug", [accountant_reset_every_round, clients_forget, accountant_told_one_step_a_round]
)
def test_planted_in_a_run_it_is_noticed(monkeypatch, require_cumulative_epsilon, bug):
    bug(monkeypatch)
    with pytest.raises(AssertionError):
        require_cumulative_epsilon()
