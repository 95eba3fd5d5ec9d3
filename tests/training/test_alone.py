"""Clients that train alone, against loops by hand over each share."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from fedpriv.config.as_json import to_json
from fedpriv.config.checks import check
from fedpriv.config.datasets import build_data, build_shares
from fedpriv.config.models import build_backbone
from fedpriv.config.privacy import build_privacy
from fedpriv.config.training import build_alone, build_centralized
from fedpriv.errors import UserError
from fedpriv.privacy.plan import plan_for_client
from fedpriv.results import RoundResult
from fedpriv.runner import run
from fedpriv.seeding import derive, generator
from fedpriv.training.alone import together
from fedpriv.training.party import ClientMemory
from tests.training.patterns import SMALL

LOCAL = "mode=local"
PATTERNS = (*SMALL, "federation.clients=3", "partition=quantity_skew", LOCAL)
OPTIMISERS = {
    "adam": (torch.optim.Adam, {"lr": 0.01}, ("training.optimizer=adam", "training.learning_rate=0.01")),
    "momentum": (torch.optim.SGD, {"lr": 0.05, "momentum": 0.9}, ("training.momentum=0.9",)),
}
FAST = ("privacy=dp_sgd", "privacy.noise=fast", "training.batch_size=8")


def trained(config):
    """Train and return the parties."""
    alone = build_alone(to_json(config))
    for _ in alone.train():
        pass
    return alone


@pytest.mark.parametrize("name", OPTIMISERS)
def test_each_client_is_bit_by_bit_a_bare_pytorch_loop_on_its_share(tiny, name):
    kind, arguments, overrides = OPTIMISERS[name]
    config = tiny(*PATTERNS, *overrides)
    text = to_json(config)
    task, training, test = build_data(text)
    shares, measured = build_shares(config, training), []
    assert len({len(share) for share in shares}) > 1
    alone = trained(config)
    for client, share in enumerate(shares):
        bare = build_backbone(text)
        images, targets = (
            torch.from_numpy(np.array(each[share])) for each in (training.images, training.targets)
        )
        optimizer = kind(bare.parameters(), **arguments)
        for number in (1, 2, 3):
            seed = derive(config.seed, "client", client, number)
            for batch in torch.from_numpy(generator(seed, "batches").permutation(len(share))).split(10):
                inputs = images[batch].to(torch.float32).div_(127.5).sub_(1.0)
                loss = functional.cross_entropy(bare(inputs), targets[batch])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        vector = torch.cat([parameter.detach().flatten() for parameter in bare.parameters()])
        assert alone.parties[client].parameters.read().tobytes() == vector.numpy().tobytes()
        measured.append(task.evaluate(bare, test)["accuracy"])
    found = run(config).history[-1].metrics
    assert found == {
        "accuracy": pytest.approx(sum(measured) / 3),
        "accuracy_min": min(measured),
        "accuracy_max": max(measured),
        "accuracy_std": pytest.approx(np.std(measured)),
    }


@pytest.mark.parametrize("privacy", [(), FAST], ids=["plain", "private"])
def test_the_only_client_is_all_in_one_place(tiny, privacy):
    one = ("federation.clients=1", "training.optimizer=adam", *privacy)
    local, central = run(tiny(*one, LOCAL)), run(tiny(*one, "mode=centralized"))
    assert local.parameters.tobytes() == central.parameters.tobytes()
    for ours, theirs in zip(local.history, central.history, strict=True):
        assert (ours.metrics, ours.train_loss, ours.epsilon) == (
            theirs.metrics,
            theirs.train_loss,
            theirs.epsilon,
        )


def test_a_private_client_trains_as_by_itself_and_pays_by_its_own_plan(tiny):
    skewed = ("partition=quantity_skew", "federation.clients=2", *FAST)
    config = tiny(*skewed, LOCAL)
    alone = trained(config)
    training = build_data(to_json(config))[1]
    plans = []
    for client, share in enumerate(build_shares(config, training)):
        single = build_centralized(to_json(config))
        single.training, single.client, single.party = training.subset(share), client, client
        single.plan = plan_for_client(build_privacy(config), len(share), 8, config.training.local_epochs, 2)
        list(single.train())
        assert alone.parties[client].parameters.read().tobytes() == single.parameters.read().tobytes()
        plans.append(single.plan)
    assert plans[0] != plans[1]
    for result in alone.history[1:]:
        spent = [
            plan.spent(((*plan.after_round(())[0][:2], plan.steps_per_round * result.number),))
            for plan in plans
        ]
        assert result.epsilon == max(each.epsilon for each in spent)
        assert result.delta == 1e-5
    assert alone.spent.epsilon == alone.history[-1].epsilon


def test_a_client_whose_budget_is_spent_stays_while_the_others_go_on(tiny):
    alone = build_alone(to_json(tiny(LOCAL, *FAST, "federation.rounds=3")))
    plan = alone.parties[0].plan
    start = next(alone.train())
    first = alone.parameters.read()
    state = alone.state()
    alone.restore([start], first, state, {0: ClientMemory(plan.after_round(()))})
    models = []
    for _ in alone.train():
        models.append([party.parameters.read().tobytes() for party in alone.parties])
    assert [result.failures for result in alone.history] == [{}, {}, {}, {"budget_spent": 1}]
    assert models[1][0] == models[2][0]
    assert all(models[1][client] != models[2][client] for client in (1, 2, 3))
    assert not alone.ended
    assert alone.history[-1].epsilon <= 8.0


def test_when_all_budgets_are_spent_training_ends(tiny):
    alone = build_alone(to_json(tiny(LOCAL, *FAST, "federation.rounds=2")))
    for party in alone.parties:
        party.rounds = 5  # more than the noise was solved for
    results = list(alone.train())
    assert [result.failures for result in results] == [{}, {}, {}, {"budget_spent": 4}]
    assert alone.ended


def test_what_was_kept_goes_on_bit_by_bit(tiny):
    config = tiny(*PATTERNS, "training.optimizer=adam")
    whole = trained(config)
    first, second = build_alone(to_json(config)), build_alone(to_json(config))
    rounds = first.train()
    for _ in range(2):
        next(rounds)
    second.restore(first.history, first.parameters.read(), first.state(), first.memories)
    assert [result.number for result in second.train()] == [2, 3]
    for ours, theirs in zip(second.parties, whole.parties, strict=True):
        assert ours.parameters.read().tobytes() == theirs.parameters.read().tobytes()
    assert [result.metrics for result in second.history] == [result.metrics for result in whole.history]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda state: state.pop("1/model"), "party 1's model is missing"),
        (lambda state: state.update({"9/model": np.zeros(3, np.float32)}), "no party for the state 9/model"),
        (lambda state: state.update({"x": np.zeros(3, np.float32)}), "no party for the state x"),
        (lambda state: state.update({"1/model": np.zeros(3, np.float32)}), "got shape"),
    ],
)
def test_a_state_of_other_parties_is_refused(tiny, change, said):
    alone = build_alone(to_json(tiny(LOCAL)))
    state = alone.state()
    change(state)
    with pytest.raises(ValueError, match=said):
        alone.restore([], alone.parameters.read(), state, {})


def test_figures_together_are_those_worked_out_by_hand():
    ended = RoundResult(2, {"error": 5.0, "other": 1.0}, epsilon=3.0, delta=1e-5, accountant="rdp")
    fresh = [
        RoundResult(3, {"error": 1.0}, 0.5, 2.0, None, 1e-5, "prv", seconds={"train": 1.0, "evaluate": 2.0}),
        RoundResult(
            3, {"error": 3.0}, 2.0, 1.0, None, 1e-5, "prv", seconds={"train": 4.0}, local_seconds=4.0
        ),
    ]
    found = together(fresh, [30, 10], [ended, *fresh], "error")
    assert found == RoundResult(
        3,
        {
            "error": 3.0,
            "error_min": 1.0,
            "error_max": 5.0,
            "error_std": pytest.approx((8 / 3) ** 0.5),
        },
        train_loss=(30 * 0.5 + 10 * 2.0) / 40,
        epsilon=3.0,
        delta=1e-5,
        accountant="rdp",
        seconds={"train": 5.0, "evaluate": 2.0},
        local_seconds=4.0,
    )


def test_a_diverging_client_ends_the_run_with_one_line(tiny):
    with pytest.raises(UserError, match=r"round 2: client 0's model is not finite; lower training"):
        run(tiny(LOCAL, "training.optimizer=sgd", "training.learning_rate=1e30"))


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["secure=bfv"], "secure.scheme=bfv: has no effect, mode=local sends no updates"),
        (["privacy=client_level", "secure=bfv"], "privacy.unit=client: mode=local sums nothing over clients"),
        (
            ["relays=loopback"],
            "relays=loopback: it is clients who ask, mode=local gives them no common model",
        ),
        (["privacy=dp_sgd", "audit.enabled=true"], "audit.enabled=true: mode=local releases no updates"),
        (["federation.clients=0"], "federation.clients=0: must be positive"),
        (["privacy=dp_sgd", "privacy.delta=0.1"], "one of the smallest client's 16 images outright"),
    ],
)
def test_what_clients_that_train_alone_cannot_have_is_refused_in_one_line(tiny, overrides, said):
    with pytest.raises(UserError) as caught:
        check(tiny(LOCAL, *overrides))
    assert said in str(caught.value)


@pytest.mark.parametrize("ignored", ["federation.cohort=7", "strategy=fedadam", "engine=ray"])
def test_what_only_a_federation_needs_is_ignored(tiny, ignored):
    check(tiny(LOCAL, ignored))
