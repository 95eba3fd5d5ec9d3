"""Canaries of known direction, and the score that tells them best."""

import math

import numpy as np
import pytest
from scipy.stats import binom, norm

from fedpriv.privacy.canaries import LOUDNESS, Canaries, CanaryClients, coins, log_likelihood_ratio


def test_coins_are_fair_repeatable_and_their_own_for_each_seed():
    many = coins(100_000, 7)
    assert abs(many.mean() - 0.5) < 4 * 0.5 / math.sqrt(100_000)
    assert (many == coins(100_000, 7)).all()
    assert 0.4 < (many[:1000] == coins(1000, 8)).mean() < 0.6


@pytest.mark.parametrize(("count", "dimension"), [(1, 1), (7, 100), (50, 50), (20, 399)])
def test_canary_clients_are_orthonormal_directions_that_use_every_coordinate_they_can(count, dimension):
    canaries = CanaryClients(count, dimension, 3)
    made = np.array([canaries.update(index, 1.0) for index in range(count)], np.float64)
    np.testing.assert_allclose(made @ made.T, np.eye(count), atol=1e-6)
    assert np.count_nonzero(made.any(axis=0)) == count * (dimension // count)
    heard = canaries.along(canaries.update(0, 5.0) + np.float64(0.0))
    np.testing.assert_allclose(heard, 5.0 * np.eye(count)[0], atol=1e-6)


@pytest.mark.parametrize("count", [0, 6])
def test_more_canaries_than_coordinates_are_refused(count):
    with pytest.raises(ValueError, match="canaries"):
        CanaryClients(count, 5, 0)


@pytest.mark.parametrize(("rate", "steps"), [(1.0, 1), (1.0, 4), (0.3, 1), (0.25, 6)])
def test_scores_are_log_likelihood_ratios(rate, steps):
    noise, heard = 1.3, np.linspace(-6, 9, 31)
    deviation = noise * math.sqrt(steps)
    inside = sum(
        binom.pmf(times, steps, rate) * norm.pdf(heard, times, deviation) for times in range(steps + 1)
    )
    expected = np.log(inside / norm.pdf(heard, 0, deviation))
    np.testing.assert_allclose(log_likelihood_ratio(heard, noise, rate, steps), expected, atol=1e-9)


def test_a_sparse_canary_is_the_canary_without_its_zeros():
    canaries = CanaryClients(7, 100, 3)
    for index in range(7):
        places, values = canaries.sparse(index, 2.5)
        whole = np.zeros(100, np.float32)
        whole[places] = values
        np.testing.assert_array_equal(whole, canaries.update(index, 2.5))
        assert np.count_nonzero(values) == len(values)


def test_planted_canaries_are_those_that_the_coins_let_in_and_all_are_loud():
    planted = Canaries.plant(40, 3, 400, seed=9)
    assert planted.carrier == 3
    assert (planted.included == coins(40, 9)).all()
    updates = planted.updates(0.5)
    assert len(updates) == planted.included.sum()
    assert [np.linalg.norm(values) for _, values in updates] == pytest.approx([LOUDNESS * 0.5] * len(updates))
    directions = CanaryClients(40, 400, 9)
    for index, (places, values) in zip(np.flatnonzero(planted.included), updates, strict=True):
        whole = np.zeros(400)
        whole[places] = values
        assert np.argmax(directions.along(whole)) == index
