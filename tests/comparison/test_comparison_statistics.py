"""Means, paired tests and their correction, against other code and published examples."""

import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from fedpriv.comparison.pareto import front
from fedpriv.comparison.statistics import holm, paired, summarise

numbers = st.floats(-1e6, 1e6).map(lambda value: round(value, 3))


@given(st.lists(numbers, min_size=2, max_size=20))
def test_mean_and_deviation_are_those_of_the_standard_library(values):
    found = summarise(values)
    assert found.n == len(values)
    assert found.mean == pytest.approx(statistics.fmean(values), rel=1e-9, abs=1e-9)
    assert found.deviation == pytest.approx(statistics.stdev(values), rel=1e-6, abs=1e-6)


def test_nothing_has_no_mean_and_one_value_no_deviation():
    assert summarise([]) is None
    assert (summarise([2.5]).mean, summarise([2.5]).deviation) == (2.5, None)


def test_a_value_repeated_has_no_deviation_though_its_mean_is_rounded():
    assert summarise([0.1] * 3).deviation == 0.0
    assert summarise([0.1] * 3).mean == 0.1


def test_what_is_too_large_to_square_has_an_infinite_deviation_and_no_warning():
    assert summarise([1e300, -1e300]).deviation == math.inf


@given(st.lists(st.tuples(numbers, numbers), min_size=2, max_size=12))
def test_the_paired_test_is_scipys(pairs):
    ours = {str(seed): first for seed, (first, _) in enumerate(pairs)}
    theirs = {str(seed): second for seed, (_, second) in enumerate(pairs)}
    differences = [first - second for first, second in pairs]
    found = paired(ours, theirs)
    assert found.n == len(pairs)
    assert found.difference == pytest.approx(statistics.fmean(differences), rel=1e-9, abs=1e-9)
    if min(differences) == max(differences):
        assert found.p is None
        return
    wanted = stats.ttest_rel([first for first, _ in pairs], [second for _, second in pairs])
    low, high = wanted.confidence_interval(0.95)
    assert found.p == pytest.approx(float(wanted.pvalue), rel=1e-6, abs=1e-12)
    assert (found.low, found.high) == pytest.approx((float(low), float(high)), rel=1e-6, abs=1e-6)


def test_only_seeds_that_both_have_are_pairs():
    found = paired({"0": 1.0, "1": 2.0, "9": 50.0}, {"1": 1.0, "0": 0.5, "7": -3.0})
    assert (found.n, found.difference) == (2, 0.75)
    assert paired({"0": 1.0}, {"1": 1.0}) is None


def test_two_pairs_are_tested_with_one_degree_of_freedom():
    found = paired({"0": 1.0, "1": 3.0}, {"0": 0.0, "1": 0.0})
    # t = 2 / (sqrt(2) / sqrt(2)) = 2; with one degree of freedom (Cauchy) p = 1 - 2 atan(2) / pi
    assert found.p == pytest.approx(1 - 2 * math.atan(2) / math.pi)
    assert found.low == pytest.approx(2 - math.tan(0.475 * math.pi))


def test_one_pair_and_differences_that_are_all_alike_have_no_p():
    one = paired({"0": 1.0}, {"0": 0.5})
    assert (one.n, one.difference, one.low, one.p) == (1, 0.5, None, None)
    same = paired({"0": 1.0, "1": 2.0}, {"0": 1.0, "1": 2.0})
    assert (same.difference, same.low, same.high, same.p) == (0.0, 0.0, 0.0, None)
    alike = paired({"0": 2.0, "1": 3.0}, {"0": 1.0, "1": 2.0})
    assert (alike.difference, alike.p) == (1.0, None)


def test_holms_correction_is_that_of_a_worked_example():
    # sorted: 0.005 x 4, 0.01 x 3, 0.03 x 2, 0.04 x 1 -> raised to what came before
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_rejects_what_its_steps_reject(ps):
    corrected = holm(ps)
    rejected = set()
    for rank, place in enumerate(sorted(range(len(ps)), key=lambda place: ps[place])):
        if (len(ps) - rank) * ps[place] >= 0.05:
            break
        rejected.add(place)
    assert {place for place, p in enumerate(corrected) if p < 0.05} == rejected


costs = st.one_of(st.integers(0, 5).map(float), st.just(math.inf))


@given(st.lists(st.tuples(costs, costs), max_size=14))
def test_the_front_is_that_of_brute_force(points):
    wanted = [not any(a <= x and b <= y and (a < x or b < y) for a, b in points) for x, y in points]
    assert front(points) == wanted


def test_what_is_not_a_number_is_not_on_the_front_and_beats_nothing():
    assert front([(math.nan, 0.0), (1.0, 1.0), (0.0, math.nan)]) == [False, True, False]


@given(st.integers(1, 40), st.lists(st.integers(40, 280), min_size=2, max_size=6))
def test_gains_that_differ_by_rounding_alone_have_no_p(gain, images):
    """Each seed gets exactly so many of 320 images more: in floats the differences are not all the same."""
    theirs = {str(seed): count / 320 for seed, count in enumerate(images)}
    ours = {str(seed): (count + gain) / 320 for seed, count in enumerate(images)}
    found = paired(ours, theirs)
    assert found.p is None
    assert math.isclose(found.difference, gain / 320)
