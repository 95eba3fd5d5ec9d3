import math

import pytest
import torch
from torch import nn

from fedpriv.training.data import ClientData
from fedpriv.training.local import LocalSettings, build_optimizer, train_plain
from tests.training.tiny import TinyTask, convolutional, examples, flat, inputs, linear


def settings(**changed):
    return LocalSettings(**{"momentum": 0.0, "learning_rate": 0.1, "batch_size": 4, **changed})


def test_one_step_of_sgd_on_a_linear_model_is_the_hand_formula():
    data, model = examples(4), linear()
    x = inputs(data).flatten(1)
    weight, bias = model[1].weight.detach().clone()[0], model[1].bias.detach().clone()[0]
    error = x @ weight + bias - data.targets
    loss = train_plain(TinyTask(), model, None, data, settings(), seed=0)
    # loss = 1/(2n) sum e^2: gradients are the means of e x and of e
    torch.testing.assert_close(model[1].weight.detach()[0], weight - 0.1 * (error[:, None] * x).mean(0))
    torch.testing.assert_close(model[1].bias.detach()[0], bias - 0.1 * error.mean())
    assert loss == pytest.approx(float((error**2).mean() / 2), rel=1e-5)


def test_momentum_and_weight_decay_are_those_of_the_textbook():
    data, model = examples(4), linear()
    x = torch.cat([inputs(data).flatten(1), torch.ones(4, 1)], dim=1)
    w = flat(model).clone()
    velocity = torch.zeros_like(w)
    for _ in range(3):
        gradient = ((x @ w - data.targets)[:, None] * x).mean(0) + 0.01 * w
        velocity = 0.9 * velocity + gradient
        w = w - 0.1 * velocity
    train_plain(
        TinyTask(), model, None, data, settings(momentum=0.9, weight_decay=0.01, local_epochs=3), seed=0
    )
    torch.testing.assert_close(flat(model), w, rtol=1e-4, atol=1e-5)


def test_the_proximal_term_is_the_gradient_of_half_mu_times_the_squared_norm_over_all_parameters():
    data, mu, rate = examples(4), 0.7, 0.05
    model, brute = convolutional(), convolutional()
    start = [parameter.detach().clone() for parameter in brute.parameters()]
    for _ in range(4):
        loss = TinyTask().loss(brute(inputs(data)), data.targets)
        distance = sum(((p - s) ** 2).sum() for p, s in zip(brute.parameters(), start, strict=True))
        gradients = torch.autograd.grad(loss + mu / 2 * distance, list(brute.parameters()))
        with torch.no_grad():
            for parameter, gradient in zip(brute.parameters(), gradients, strict=True):
                parameter -= rate * gradient
    train_plain(
        TinyTask(), model, None, data, settings(learning_rate=rate, proximal_mu=mu, local_epochs=4), seed=0
    )
    torch.testing.assert_close(flat(model), flat(brute), rtol=1e-4, atol=1e-6)


def test_the_proximal_term_leaves_the_private_head_alone():
    data = examples(4)
    trained = []
    for mu in (0.0, 5.0):
        backbone, head = nn.Sequential(nn.Flatten(), nn.Linear(12, 2)), nn.Linear(2, 1)
        with torch.no_grad():
            # a zero head stops every gradient, so the backbone stays and only the head can move
            for parameter in (*backbone.parameters(), *head.parameters()):
                parameter.fill_(0.1)
        train_plain(TinyTask(), backbone, head, data, settings(proximal_mu=mu), seed=0)
        trained.append(flat(head))
    assert torch.equal(trained[0], trained[1])


def test_a_parameter_that_the_loss_does_not_reach_stays_under_the_proximal_term():
    model = linear()
    model.unused = nn.Parameter(torch.ones(3))
    model.forward = lambda x: model[1](model[0](x))
    train_plain(TinyTask(), model, None, examples(4), settings(proximal_mu=1.0, local_epochs=3), seed=0)
    assert model.unused.tolist() == [1, 1, 1]


def test_a_private_head_is_trained_together_with_the_backbone():
    backbone, head = nn.Sequential(nn.Flatten(), nn.Linear(12, 2)), nn.Linear(2, 1)
    before = flat(backbone).clone(), flat(head).clone()
    train_plain(TinyTask(), backbone, head, examples(4), settings(), seed=0)
    assert not torch.equal(flat(backbone), before[0])
    assert not torch.equal(flat(head), before[1])


@pytest.mark.parametrize(("count", "batch"), [(12, 4), (10, 4), (3, 8), (1, 1)])
def test_every_example_is_seen_once_per_epoch(count, batch):
    task = TinyTask()
    train_plain(task, linear(), None, examples(count), settings(batch_size=batch, local_epochs=3), seed=0)
    # ceil(3 n / b) steps hold at least 2 whole passes
    seen = torch.cat(task.seen).tolist()
    for start in range(0, len(seen) // count * count, count):
        assert sorted(seen[start : start + count]) == list(range(count))


def test_epochs_are_shuffled_differently():
    task = TinyTask()
    train_plain(task, linear(), None, examples(40), settings(local_epochs=2), seed=0)
    seen = torch.cat(task.seen).tolist()
    assert seen[:40] != seen[40:]
    assert seen[:40] != list(range(40))


@pytest.mark.parametrize(("epochs", "steps"), [(1.0, 3), (0.5, 2), (0.25, 1), (0.001, 1), (2.0, 5), (1.5, 4)])
def test_fractions_of_an_epoch_round_up_to_steps(epochs, steps):
    task = TinyTask()
    train_plain(task, linear(), None, examples(10), settings(local_epochs=epochs), seed=0)
    assert len(task.seen) == steps == max(1, math.ceil(epochs * 10 / 4))


def test_the_same_seed_is_bit_identical_and_another_is_not():
    trained = []
    for seed in (5, 5, 6):
        model = convolutional()
        train_plain(TinyTask(), model, None, examples(12), settings(), seed=seed)
        trained.append(flat(model))
    assert torch.equal(trained[0], trained[1])
    assert not torch.equal(trained[0], trained[2])


def test_global_random_state_is_neither_used_nor_moved():
    trained = []
    for state in (1, 2):
        model = convolutional()
        torch.manual_seed(state)
        before = torch.get_rng_state()
        train_plain(TinyTask(), model, None, examples(12), settings(), seed=5)
        assert torch.equal(before, torch.get_rng_state())
        trained.append(flat(model))
    assert torch.equal(trained[0], trained[1])


def test_augmentation_gets_draws_that_the_seed_decides():
    class Noisy(TinyTask):
        def augment(self, inputs, draw):
            return inputs + draw(1, len(inputs)).view(-1, 1, 1, 1)

    trained = []
    for seed in (5, 5, 6):
        model = linear()
        train_plain(Noisy(), model, None, examples(4), settings(), seed=seed)
        trained.append(flat(model))
    assert torch.equal(trained[0], trained[1])
    assert not torch.equal(trained[0], trained[2])


@pytest.mark.parametrize(
    ("name", "kind"), [("sgd", torch.optim.SGD), ("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)]
)
def test_optimisers_get_rate_and_decay(name, kind):
    optimizer = build_optimizer(settings(optimizer=name, weight_decay=0.3), list(linear().parameters()))
    assert type(optimizer) is kind
    assert (optimizer.defaults["lr"], optimizer.defaults["weight_decay"]) == (0.1, 0.3)


def test_an_unknown_optimiser_is_refused_with_the_choices():
    with pytest.raises(ValueError, match=r"training\.optimizer=lion: choose sgd, adam or adamw"):
        build_optimizer(settings(optimizer="lion"), list(linear().parameters()))


def test_diverging_training_reports_a_loss_that_is_not_finite():
    data = ClientData(images=examples(4).images, targets=torch.full((4,), float("inf")))
    assert not math.isfinite(train_plain(TinyTask(), linear(), None, data, settings(), seed=0))


def test_the_cosine_schedule_falls_from_the_whole_step_size_towards_zero():
    base = settings(schedule="cosine", learning_rate=0.2)
    rates = [base.at_round(number, 4).learning_rate for number in (1, 2, 3, 4)]
    half = math.sqrt(0.5)
    assert rates == pytest.approx([0.2, 0.1 * (1 + half), 0.1, 0.1 * (1 - half)])
    assert base.at_round(9, 4).learning_rate == pytest.approx(0.0, abs=1e-12)


def test_the_constant_schedule_changes_nothing_and_an_unknown_one_is_refused():
    assert settings().at_round(3, 4) == settings()
    with pytest.raises(ValueError, match=r"training\.schedule=linear: choose constant or cosine"):
        settings(schedule="linear").at_round(1, 4)
