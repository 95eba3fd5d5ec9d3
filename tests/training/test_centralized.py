"""Training without a federation, against a loop that shares nothing with it."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from fedpriv.config.as_json import to_json
from fedpriv.config.checks import check
from fedpriv.config.datasets import build_data
from fedpriv.config.training import build_centralized
from fedpriv.errors import UserError
from fedpriv.privacy.plan import plan_for_client
from fedpriv.runner import run
from fedpriv.seeding import derive, generator
from tests.training.patterns import SMALL

CENTRAL = "mode=centralized"
PATTERNS = (*SMALL, CENTRAL)
OPTIMISERS = {
    "adam": (torch.optim.Adam, {"lr": 0.01}, ("training.optimizer=adam", "training.learning_rate=0.01")),
    "momentum": (
        torch.optim.SGD,
        {"lr": 0.05, "momentum": 0.9, "weight_decay": 0.01},
        ("training.momentum=0.9", "training.weight_decay=0.01"),
    ),
}


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
@pytest.mark.parametrize("name", OPTIMISERS)
def test_it_is_bit_by_bit_a_bare_pytorch_loop_with_one_optimiser(tiny, name, schedule):
    kind, arguments, overrides = OPTIMISERS[name]
    config = tiny(*PATTERNS, *overrides, f"training.schedule={schedule}")
    report = run(config)

    text = to_json(config)
    _, training, _ = build_data(text)
    bare = build_centralized(text).backbone  # for its initial parameters alone
    images, targets = torch.from_numpy(np.array(training.images)), torch.from_numpy(training.targets)
    optimizer = kind(bare.parameters(), **arguments)
    for number in (1, 2, 3):
        if schedule == "cosine":
            factor = (1 + math.cos(math.pi * (number - 1) / 3)) / 2
            optimizer.param_groups[0]["lr"] = arguments["lr"] * factor
        order = generator(derive(config.seed, "client", 0, number), "batches").permutation(len(images))
        for batch in torch.from_numpy(order).split(10):
            inputs = images[batch].to(torch.float32).div_(127.5).sub_(1.0)
            loss = functional.cross_entropy(bare(inputs), targets[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    vector = torch.cat([parameter.detach().flatten() for parameter in bare.parameters()])
    assert report.parameters.tobytes() == vector.numpy().tobytes()


def test_rounds_are_reported_as_in_a_federation_but_without_clients(tiny):
    report = run(tiny(CENTRAL, "federation.rounds=3", "evaluation.every=2"))
    assert [result.number for result in report.history] == [0, 1, 2, 3]
    assert [bool(result.metrics) for result in report.history] == [True, False, True, True]
    assert report.history[0].train_loss is None
    for result in report.history[1:]:
        assert result.train_loss > 0
        assert (result.asked, result.replied, result.bytes_up, result.bytes_down) == (0, 0, 0, 0)
        assert result.seconds.keys() == {"train", "evaluate"}
        assert result.local_seconds == result.seconds["train"] > 0


ALONE = ("federation.clients=1", "federation.min_replies=1", "federation.rounds=1")


@pytest.mark.parametrize(
    "privacy",
    [(), ("privacy=dp_sgd", "privacy.noise=fast", "training.batch_size=8")],
    ids=["plain", "private"],
)
def test_the_only_client_of_a_federation_trains_the_same_first_round(tiny, privacy):
    """Up to the rounding of x + (x_1 - x) on the server: half a unit in the last place of the change."""
    federated, central = run(tiny(*ALONE, *privacy)), run(tiny(*ALONE, *privacy, CENTRAL))
    np.testing.assert_allclose(central.parameters, federated.parameters, rtol=3e-7, atol=1e-8)
    assert central.history[1].train_loss == federated.history[1].train_loss
    assert central.history[1].epsilon == federated.history[1].epsilon
    assert central.baseline == federated.baseline


def test_the_optimiser_lives_on_where_a_client_makes_it_anew(tiny):
    rounds = ("federation.rounds=2", "training.optimizer=adam")
    federated = run(tiny(*ALONE, *rounds))
    central = run(tiny(*ALONE, *rounds, CENTRAL))
    assert np.abs(federated.parameters - central.parameters).max() > 1e-3


def test_epsilon_is_that_of_one_plan_over_all_images_and_rounds(tiny):
    config = tiny(
        CENTRAL, "privacy=dp_sgd", "privacy.epsilon=4", "federation.rounds=3", "training.batch_size=8"
    )
    report = run(config)
    central = build_centralized(to_json(config))
    examples = 4 * 16  # four of six people, sixteen images each
    plan = plan_for_client(central.privacy, examples, 8, config.training.local_epochs, 3)
    assert central.plan == plan
    history = ()
    for result in report.history[1:]:
        history = plan.after_round(history)
        assert result.epsilon == plan.spent(history).epsilon
        assert result.delta == 1e-5
    assert 3.9 < report.history[-1].epsilon <= 4.0


def test_a_spent_budget_ends_training_with_the_model_so_far(tiny):
    central = build_centralized(to_json(tiny(CENTRAL, "privacy=dp_sgd", "federation.rounds=2")))
    central.rounds = 5  # more than the noise was solved for
    models = []
    for _ in central.train():
        models.append(central.parameters.read())
    assert [result.failures for result in central.history] == [{}, {}, {}, {"budget_spent": 1}]
    assert central.ended
    assert models[2].tobytes() == models[3].tobytes()
    assert central.history[-1].metrics == central.history[-2].metrics
    assert central.history[-1].epsilon == central.history[-2].epsilon <= 8.0


def test_secure_noise_differs_and_seeded_noise_does_not(tiny):
    private = (CENTRAL, "privacy=dp_sgd", "federation.rounds=1")
    secure = [run(tiny(*private)).parameters.tobytes() for _ in range(2)]
    fast = [run(tiny(*private, "privacy.noise=fast")).parameters.tobytes() for _ in range(2)]
    assert secure[0] != secure[1]
    assert fast[0] == fast[1]


def test_a_private_head_is_for_all_people_and_lives_through_all_rounds(tiny):
    faces = (
        "task=face",
        "model=face_cnn",
        "evaluation.every=1",
        "data=synthetic_patterns",
        "++task.trainable_head=true",
        "++task.codewords=16",
        "data.people=16",
        "data.images_per_person=6",
        "data.size=20",
        "evaluation.test_subjects=6",
        "training.local_epochs=1",
    )
    central = build_centralized(to_json(tiny(*faces, CENTRAL)))
    heads = []
    for _ in central.train():
        heads.append(central.memory.head.copy())
    assert len({head.tobytes() for head in heads}) == 3
    with pytest.raises(UserError, match=r"task\.codewords=9: a client has 10 people"):
        check(tiny(*faces, CENTRAL, "++task.codewords=9"))


def test_a_diverging_model_ends_the_run_with_one_line(tiny):
    with pytest.raises(UserError, match=r"round 1: the model is not finite; lower training\.learning_rate"):
        run(tiny(CENTRAL, "training.optimizer=sgd", "training.learning_rate=1e30"))


def test_the_state_of_another_optimiser_is_refused(tiny):
    central = build_centralized(to_json(tiny(CENTRAL)))
    start = central.parameters.read()
    for state in ({"99/exp_avg": start}, {"x/exp_avg": start}, {"0/exp_avg": np.zeros(7, np.float32)}):
        with pytest.raises(ValueError, match="the optimiser"):
            central.restore([], start, state, central.memory)


@pytest.mark.parametrize(
    "ignored",
    [
        "federation.clients=1000",
        "federation.cohort=7",
        "federation.min_replies=50",
        "partition=dirichlet",
        "strategy=fedadam",
        "engine=ray",
        "federation.faults=[0:raise]",
    ],
)
def test_what_only_a_federation_needs_is_ignored(tiny, ignored):
    check(tiny(CENTRAL, ignored))


def test_encryption_and_unknown_modes_are_refused_in_one_line(tiny):
    with pytest.raises(
        UserError, match=r"^secure\.scheme=bfv: has no effect, mode=centralized sends no updates"
    ):
        check(tiny(CENTRAL, "secure=bfv"))
    with pytest.raises(Exception, match="mode") as caught:
        tiny("mode=decentralized")
    assert "decentralized" in str(caught.value)


def test_a_delta_that_gives_an_image_away_is_refused(tiny):
    with pytest.raises(UserError, match="publish one of the training set's 64 images outright"):
        check(tiny(CENTRAL, "privacy=dp_sgd", "privacy.delta=0.1"))


def test_all_cores_are_used_unless_threads_are_given(tiny, monkeypatch):
    import os

    seen = []
    monkeypatch.setattr(torch, "set_num_threads", seen.append)
    run(tiny(CENTRAL, "federation.rounds=1", "engine.threads=null", "engine.workers=7"))
    run(tiny(CENTRAL, "federation.rounds=1", "engine.threads=3"))
    assert seen == [len(os.sched_getaffinity(0)), 3]


def test_the_backbone_is_a_module_that_can_be_used_afterwards(tiny):
    central = build_centralized(to_json(tiny(CENTRAL)))
    assert isinstance(central.backbone, nn.Module)
    assert len(list(central.train())) == 3
    assert central.task.evaluate(central.backbone, central.test) == central.history[-1].metrics
