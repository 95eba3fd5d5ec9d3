"""Template recovery: each attack does what its text says; the real services stop those that they should."""

import numpy as np
import pytest

from fedpriv.attacks.templates.population import Population, unit_rows
from fedpriv.attacks.templates.recovery import BISECTIONS, boundary, climb, one_bit, solve
from fedpriv.attacks.templates.runs import FREE, LENGTHS, PHOTO, WITHIN, Settings, _at_least, days, run
from fedpriv.attacks.templates.scene import forged_probe, scene
from fedpriv.errors import UserError
from fedpriv.faces.parties import Refusal

D = 24
POPULATION = Population.simulated(D)


def people(count, seed=0):
    return POPULATION.draw(count, np.random.default_rng(seed))


class Counting:
    """An oracle that counts."""

    def __init__(self, answer):
        self._answer, self.asked = answer, 0

    def __call__(self, probe):
        assert abs(np.linalg.norm(probe) - 1.0) < 1e-9
        self.asked += 1
        return self._answer(probe)


def test_a_population_has_the_covariance_that_it_is_said_to_have():
    drawn = np.random.default_rng(0).standard_normal((200_000, D)) * POPULATION.roots
    np.testing.assert_allclose(np.var(drawn, axis=0), POPULATION.roots**2, rtol=0.03)
    np.testing.assert_allclose((POPULATION.roots**2).sum(), 1.0)
    values = POPULATION.roots**2
    np.testing.assert_allclose(values / values[0], np.arange(1, D + 1) ** -0.5)


@pytest.mark.parametrize("rate", [1e-2, 1e-3])
def test_strangers_pass_the_threshold_as_often_as_asked_for(rate):
    threshold = POPULATION.threshold(rate, seed=1)
    one, other = people(200_000, 2), people(200_000, 3)
    assert np.mean((one * other).sum(axis=1) > threshold) == pytest.approx(rate, rel=0.3)


def test_as_many_scores_as_dimensions_are_the_template():
    for index, template in enumerate(people(5)):
        score = Counting(lambda probe, t=template: round(float(probe @ t) * 2**16) / 2**16)
        guess = solve(score, D, POPULATION, np.random.default_rng(100 + index))
        assert score.asked == D
        assert guess @ template > 0.999


def test_fewer_scores_give_the_conditional_mean():
    """Equal to the regression of the template on the scores, computed from a large sample."""
    random = np.random.default_rng(0)
    template = people(1)[0]
    asked = []

    def score(probe):
        asked.append(probe)
        return float(probe @ template)

    guess = solve(score, 6, POPULATION, random)
    probes = np.array(asked)
    sample = np.random.default_rng(1).standard_normal((400_000, D)) * POPULATION.roots
    coefficients = np.linalg.lstsq(sample @ probes.T, sample, rcond=None)[0]
    assert unit_rows((probes @ template) @ coefficients) @ guess > 0.999


def test_climbing_never_goes_down_and_keeps_to_its_queries():
    template = people(1)[0]
    scores = []

    def answer(probe):
        scores.append(float(probe @ template))
        return scores[-1]

    guess = climb(answer, 40, POPULATION, np.random.default_rng(100))
    assert len(scores) == 40
    assert guess @ template == pytest.approx(max(scores))
    assert guess @ template > scores[0]


@pytest.mark.parametrize("queries", [1, 11, 12, 40, 500])
def test_the_boundary_attack_keeps_to_its_queries(queries):
    template = people(1)[0]
    accepts = Counting(lambda probe: bool(probe @ template > 0.3))
    _, first = boundary(accepts, queries, 0.3, POPULATION, np.random.default_rng(100))
    assert 1 <= first <= queries
    assert accepts.asked <= queries


def test_many_decisions_are_the_template():
    for index, template in enumerate(people(5)):
        photo = unit_rows(template + 0.5 * people(1, 50 + index)[0])
        accepts = Counting(lambda probe, t=template: bool(probe @ t > 0.5))
        guess, first = boundary(
            accepts, 2 * D * BISECTIONS, 0.5, POPULATION, np.random.default_rng(index), photo
        )
        assert first == 0
        assert guess @ template > 0.995 > photo @ template


def test_signs_alone_are_a_bit_each():
    for index, template in enumerate(people(5)):
        accepts = Counting(lambda probe, t=template: bool(probe @ t > 0))
        assert one_bit(accepts, 32, POPULATION, np.random.default_rng(100 + index)) @ template > 0.5


@pytest.mark.parametrize(("queries", "expected"), [(1, 0), (32, 0), (33, 1), (64, 1), (65, 2), (3072, 95)])
def test_days_are_those_of_a_budget_for_24_hours(queries, expected):
    assert days(queries, 32) == expected


def test_the_tail_of_the_binomial():
    random = np.random.default_rng(0).binomial(20, 0.1, 200_000)
    for least in range(6):
        assert _at_least(least, 20, 0.1) == pytest.approx(np.mean(random >= least), abs=0.005)


def test_where_chance_is_certain_nothing_is_a_surprise():
    """With rate 0.1 and 32 strangers chance and rate add up to more than 1."""
    found = run(Settings(dimension=8, targets=5, rate=0.1, unlimited=100, real=0))
    assert found.chance + found.settings.rate > 1
    assert found.held


def test_the_scene_answers_as_plain_arithmetic_does_and_counts():
    targets = people(3, 5)
    with scene(targets, 0.4, 60, raw_scores=True) as stage:
        for probe in people(8, 6):
            for index in (0, 2):
                assert stage.score(index, probe) == pytest.approx(targets[index] @ probe, abs=2**-17 + 1e-6)
                if abs(targets[index] @ probe - 0.4) > 0.02:
                    assert stage.accepts(index, probe) == (targets[index] @ probe > 0.4)
        assert stage.accepts(0, targets[0])
        while stage.asked < 60:
            stage.accepts(1, targets[1])
        with pytest.raises(Refusal, match="budget of 60 openings"):
            stage.accepts(1, targets[1])


def test_scores_are_refused_without_the_flag():
    with scene(people(1), 0.4, 5, raw_scores=False) as stage, pytest.raises(Refusal, match="not told"):
        stage.score(0, people(1)[0])


@pytest.mark.parametrize("length", [0.5, 1.01, 2.0, 30.0, 4097.0**0.5, 1000.0, (2.0**26 + 1) ** 0.5])
def test_a_probe_of_another_length_is_refused_and_charged(length):
    target = people(1)[0]
    with scene(target[np.newaxis], 0.4, 2, raw_scores=False) as stage:
        assert stage.accepts(0, forged_probe(stage.keys.public, target))
        with pytest.raises(Refusal) as caught:
            stage.accepts(0, forged_probe(stage.keys.public, length * target))
        assert caught.value.cause == "not_opened"
        with pytest.raises(Refusal, match="is spent"):
            stage.accepts(0, target)


def test_settings_out_of_range_are_named():
    for field, value, said in (
        ("targets", 0, "--targets 0"),
        ("rate", 0.5, "--far 0.5"),
        ("real", 99, "--real 99"),
    ):
        with pytest.raises(UserError, match=said):
            Settings(**{field: value})


@pytest.mark.slow
def test_recovery_succeeds_against_scores_and_fails_within_the_budget():
    found = run(Settings(dimension=24, targets=10, unlimited=2000, real=1))
    assert found.held
    rows = found.rows
    assert min(rows["scores: one per dimension"].cosines) > 0.99
    assert rows["scores: one per dimension"].accepted == 1.0
    assert rows["scores: one per dimension"].real[0] > 0.99
    assert rows[WITHIN].accepted <= 0.1
    assert np.mean(rows[WITHIN].cosines) < 0.3
    assert min(rows[PHOTO].cosines) > 0.99
    assert np.mean(rows["signs: lengths unchecked"].cosines) > 0.5
    assert rows[LENGTHS].refused == 32
    assert rows[FREE].accepted > rows[WITHIN].accepted
