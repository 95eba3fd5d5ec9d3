import dataclasses
import math

import numpy as np
import pytest

from fedpriv.privacy import accounting
from fedpriv.privacy.dp_sgd import poisson_sample
from fedpriv.privacy.noise import FastSource
from fedpriv.privacy.plan import PrivacySettings, SamplePlan, plan_for_client

DELTA = 1e-5


def settings(epsilon=None, noise_multiplier=None, **changed):
    return PrivacySettings(
        **{"delta": DELTA, "clipping_norm": 1.0, **changed},
        epsilon=epsilon,
        noise_multiplier=noise_multiplier,
    )


@pytest.mark.parametrize("given", [{}, {"epsilon": 1.0, "noise_multiplier": 1.0}])
def test_exactly_one_of_epsilon_and_noise_multiplier_is_needed(given):
    with pytest.raises(ValueError, match="exactly one of epsilon and noise_multiplier"):
        settings(**given)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (name, value)
        for name in ("epsilon", "noise_multiplier", "clipping_norm")
        for value in (0.0, -1.0, math.nan, math.inf)
    ]
    + [("delta", value) for value in (0.0, 1.0, -1.0, math.nan)]
    + [("noise", "quick"), ("gradients", "ghost")],
)
def test_a_value_out_of_range_is_refused_by_name(name, value):
    given = {name: value} if name in ("epsilon", "noise_multiplier") else {"epsilon": 1.0, name: value}
    with pytest.raises(ValueError, match=rf"^{name}="):
        settings(**given)


@pytest.mark.parametrize("name", ["examples", "batch_size", "local_epochs", "rounds"])
def test_a_plan_without_examples_or_steps_is_refused(name):
    given = {"examples": 100, "batch_size": 10, "local_epochs": 1.0, "rounds": 2} | {name: 0}
    with pytest.raises(ValueError, match=f"^{name}=0"):
        plan_for_client(settings(noise_multiplier=1.0), **given)


@pytest.mark.parametrize(
    ("examples", "batch", "epochs", "rate", "steps"),
    [
        (100, 10, 1.0, 0.1, 10),
        (100, 30, 1.0, 0.3, 4),
        (100, 10, 0.25, 0.1, 3),
        (100, 10, 0.001, 0.1, 1),
        (100, 10, 2.0, 0.1, 20),
        (100, 100, 3.0, 1.0, 3),
    ],
)
def test_sample_rate_and_steps_of_a_round(examples, batch, epochs, rate, steps):
    plan = plan_for_client(settings(noise_multiplier=1.0), examples, batch, epochs, rounds=5)
    assert (plan.sample_rate, plan.steps_per_round) == (rate, steps)
    assert plan.expected_batch == pytest.approx(min(batch, examples))


def test_the_relation_of_neighbours_is_named():
    assert (
        plan_for_client(settings(epsilon=4.0), 200, 20, 1.0, rounds=4).relation
        == "one image added or removed"
    )
    assert "relation" not in {field.name for field in dataclasses.fields(SamplePlan)}


def test_guarantee_the_whole_run_stays_within_the_target_and_uses_it():
    plan = plan_for_client(settings(epsilon=4.0), 200, 20, 1.0, rounds=4)
    history = ()
    for _ in range(4):
        assert plan.may_train(history)
        history = plan.after_round(history)
    assert history == ((plan.noise_multiplier, 0.1, 40),)
    assert 3.9 < plan.spent(history).epsilon <= 4.0


def test_guarantee_training_stops_before_the_round_that_would_pass_the_target():
    plan = plan_for_client(settings(epsilon=4.0), 200, 20, 1.0, rounds=4)
    history = ()
    while plan.may_train(history):
        history = plan.after_round(history)
    assert plan.spent(history).epsilon <= 4.0
    assert plan.spent(plan.after_round(history)).epsilon > 4.0
    assert history[0][2] == 4 * plan.steps_per_round


@pytest.mark.parametrize("asked", range(6))
@pytest.mark.parametrize("before", [0, 2])
def test_who_is_asked_for_rounds_spends_at_most_what_training_while_the_target_allows_it_costs(asked, before):
    plan = plan_for_client(settings(epsilon=4.0), 200, 20, 1.0, rounds=4)
    start = ()
    for _ in range(before):
        start = plan.after_round(start)
    history = start
    for _ in range(asked):
        history = plan.after_round(history) if plan.may_train(history) else history
    assert plan.spent_at_most(start, asked) == plan.spent(history)


def test_guarantee_what_was_spent_under_another_noise_counts():
    plan = plan_for_client(settings(epsilon=4.0), 200, 20, 1.0, rounds=4)
    assert not plan.may_train(((0.5, 0.1, 50),))


def test_without_a_target_training_never_stops():
    plan = plan_for_client(settings(noise_multiplier=0.5), 200, 20, 1.0, rounds=4)
    assert plan.may_train(((0.1, 1.0, 10**6),))


def test_edge_an_empty_sample_is_accounted_like_any_other():
    # the accountant is told steps, whatever was drawn
    plan = plan_for_client(settings(noise_multiplier=1.0), 10, 1, 1.0, rounds=1)
    sizes = [len(poisson_sample(plan, FastSource(0, number))) for number in range(plan.steps_per_round)]
    assert 0 in sizes
    assert plan.after_round(()) == ((1.0, 0.1, 10),)


def test_edge_fewer_examples_than_the_batch_claim_no_amplification():
    plan = plan_for_client(settings(noise_multiplier=4.0), 5, 20, 1.0, rounds=1)
    assert (plan.sample_rate, plan.expected_batch, plan.steps_per_round) == (1.0, 5.0, 1)
    assert np.array_equal(poisson_sample(plan, FastSource(0)), np.arange(5))
    assert plan.spent(plan.after_round(())) == accounting.spent(((4.0, 1.0, 1),), DELTA)


def test_edge_the_unit_is_one_image_so_more_images_of_a_person_change_no_accounting_but_the_rate():
    few = plan_for_client(settings(noise_multiplier=1.0), 100, 10, 1.0, rounds=1)
    same_rate = plan_for_client(settings(noise_multiplier=1.0), 1000, 100, 1.0, rounds=1)
    assert few.spent(few.after_round(())) == same_rate.spent(same_rate.after_round(()))


def test_poisson_samples_take_each_example_with_the_planned_probability():
    plan = plan_for_client(settings(noise_multiplier=1.0), 50, 5, 1.0, rounds=1)
    source = FastSource(7)
    draws = [poisson_sample(plan, source) for _ in range(4000)]
    counts = np.bincount(np.concatenate(draws), minlength=50)
    # binomial(4000, 0.1): standard deviation 19; sizes vary as binomial(50, 0.1), not constant
    assert np.all(np.abs(counts - 400) < 6 * 19)
    assert np.var([len(draw) for draw in draws]) == pytest.approx(4.5, rel=0.15)
