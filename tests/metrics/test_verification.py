"""Verification metrics against brute force over all thresholds, tiny hand-made cases and invariances."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedpriv.metrics.verification import (
    best_threshold,
    cosine_scores,
    equal_error_rate,
    tar_at_far,
    ten_fold_accuracy,
    verification_pairs,
)
from fedpriv.pairs import FOLDS, VerificationPairs


def random_scores(seed: int, pairs: int = 60, shift: float = 1.0, decimals: int = 1):
    """Half genuine, half impostor, with ties."""
    random = np.random.default_rng(seed)
    same = np.tile([True, False], pairs // 2)
    return np.round(random.normal(size=pairs) + shift * same, decimals), same


def rates(scores, same, threshold):
    accepted = scores >= threshold
    return np.mean(accepted[~same]), np.mean(accepted[same])


def all_thresholds(scores):
    return np.concatenate([[-np.inf], np.unique(scores), np.unique(scores) + 1e-4, [np.inf]])


@st.composite
def scored_pairs(draw):
    kinds = draw(st.lists(st.booleans(), min_size=2, max_size=40).filter(lambda k: any(k) and not all(k)))
    scores = draw(st.lists(st.integers(-6, 6), min_size=len(kinds), max_size=len(kinds)))
    return np.asarray(scores, dtype=np.float64), np.asarray(kinds, dtype=np.bool_)


def test_pairs_are_distinct_balanced_in_every_fold_and_truly_same_or_not() -> None:
    labels = np.random.default_rng(1).integers(0, 7, size=60)
    pairs = verification_pairs(labels, np.random.default_rng(2), max_pairs=200)
    assert len(pairs) == 200
    assert np.array_equal(labels[pairs.left] == labels[pairs.right], pairs.same)
    assert (pairs.same.reshape(FOLDS, -1).sum(axis=1) == 10).all()
    unordered = {frozenset(pair) for pair in zip(pairs.left.tolist(), pairs.right.tolist(), strict=True)}
    assert len(unordered) == 200
    assert all(len(pair) == 2 for pair in unordered)


def test_every_genuine_pair_is_used_when_the_cap_allows_it() -> None:
    labels = np.repeat(np.arange(4), 5)[np.random.default_rng(0).permutation(20)]
    pairs = verification_pairs(labels, np.random.default_rng(3))
    genuine = {frozenset(p) for p in itertools.combinations(range(20), 2) if labels[p[0]] == labels[p[1]]}
    drawn = zip(pairs.left[pairs.same].tolist(), pairs.right[pairs.same].tolist(), strict=True)
    assert {frozenset(p) for p in drawn} == genuine
    assert len(pairs) == 2 * len(genuine)


def test_each_possible_pair_is_drawn_equally_often() -> None:
    labels = np.array([0] * 6 + [1] * 5)
    random = np.random.default_rng(4)
    counts: dict[tuple[int, int], int] = {}
    draws = 3000
    for _ in range(draws):
        pairs = verification_pairs(labels, random, max_pairs=20)
        for left, right in zip(pairs.left.tolist(), pairs.right.tolist(), strict=True):
            key = (min(left, right), max(left, right))
            counts[key] = counts.get(key, 0) + 1
    for pair in itertools.combinations(range(11), 2):
        possible = 25 if labels[pair[0]] == labels[pair[1]] else 30
        expected, spread = draws * 10 / possible, np.sqrt(draws * 10 / possible)
        assert abs(counts[pair] - expected) < 5 * spread


def test_the_same_generator_state_gives_the_same_pairs() -> None:
    labels = np.repeat(np.arange(5), 4)
    one = verification_pairs(labels, np.random.default_rng(7))
    two = verification_pairs(labels, np.random.default_rng(7))
    assert np.array_equal(one.left, two.left)
    assert np.array_equal(one.right, two.right)


@pytest.mark.parametrize("labels", [[], [0] * 30, list(range(30)), [0, 0, 1, 1]])
def test_too_few_pairs_of_a_kind_are_refused(labels) -> None:
    with pytest.raises(ValueError, match="need at least 10 pairs of each kind"):
        verification_pairs(np.asarray(labels, dtype=np.int64), np.random.default_rng(0))


def test_cosine_scores_of_known_angles_and_of_a_zero_vector() -> None:
    embeddings = np.array([[2.0, 0.0], [3.0, 3.0], [-1.0, 0.0], [0.0, 0.0]], dtype=np.float32)
    pairs = VerificationPairs(np.array([0, 0, 0]), np.array([1, 2, 3]), np.array([True, False, False]))
    np.testing.assert_allclose(cosine_scores(embeddings, pairs), [np.sqrt(0.5), -1.0, 0.0], atol=1e-12)


@settings(max_examples=60, deadline=None)
@given(scored_pairs())
def test_best_threshold_is_as_accurate_as_the_best_of_all_thresholds(case) -> None:
    scores, same = case
    brute = max(np.mean((scores >= threshold) == same) for threshold in all_thresholds(scores))
    assert np.mean((scores >= best_threshold(scores, same)) == same) == brute


def test_best_threshold_separates_neighbouring_floats() -> None:
    low = 1.0
    scores = np.array([low, np.nextafter(low, 2.0)])
    assert low < best_threshold(scores, np.array([False, True])) <= scores[1]


@pytest.mark.parametrize("seed", range(5))
def test_ten_fold_accuracy_equals_brute_force_over_folds_and_thresholds(seed: int) -> None:
    scores, same = random_scores(seed, decimals=6)
    accuracies = []
    for fold in range(10):
        test = np.arange(60) // 6 == fold
        values = np.sort(scores[~test])
        middles = [-np.inf, *((values[:-1] + values[1:]) / 2), np.inf]
        accuracy = np.array([np.mean((scores[~test] >= t) == same[~test]) for t in middles])
        best = np.flatnonzero(accuracy == accuracy.max())
        accuracies.append(np.mean((scores[test] >= middles[best[len(best) // 2]]) == same[test]))
    mean, deviation = ten_fold_accuracy(scores, same)
    assert mean == pytest.approx(np.mean(accuracies))
    assert deviation == pytest.approx(np.std(accuracies))


def test_the_threshold_of_a_fold_never_sees_that_fold() -> None:
    same = np.tile([True, False], 20)
    scores = np.where(same, 1.0, 0.0)
    scores[:4] = [0.0, 1.0, 0.0, 1.0]
    mean, deviation = ten_fold_accuracy(scores, same)
    assert mean == pytest.approx(0.9)
    assert deviation == pytest.approx(0.3)


def test_pairs_that_do_not_fill_ten_folds_are_refused() -> None:
    with pytest.raises(ValueError, match="12 pairs do not fall into 10 equal folds"):
        ten_fold_accuracy(np.arange(12.0), np.tile([True, False], 6))


def test_equal_error_rate_of_a_hand_made_case() -> None:
    """Genuine 4, 3, 1 and impostors 2, 0, -1: at threshold 2, FAR = FRR = 1/3."""
    scores = np.array([4.0, 3.0, 1.0, 2.0, 0.0, -1.0])
    assert equal_error_rate(scores, np.array([True] * 3 + [False] * 3)) == pytest.approx(1 / 3)


def test_equal_error_rate_interpolates_linearly_between_roc_vertices() -> None:
    """All scores tied, then one genuine above a tie.

    The ROC is first the diagonal, then the line from (0, 1/2) to (1, 1), where FAR = FRR = 1/3.
    """
    same = np.array([True, True, False, False])
    assert equal_error_rate(np.zeros(4), same) == pytest.approx(0.5)
    assert equal_error_rate(np.array([2.0, 1.0, 1.0, 1.0]), same) == pytest.approx(1 / 3)


@settings(max_examples=60, deadline=None)
@given(scored_pairs())
def test_equal_error_rate_lies_between_the_brute_force_points_around_the_crossing(case) -> None:
    scores, same = case
    points = [rates(scores, same, t) for t in all_thresholds(scores)]
    balanced = equal_error_rate(scores, same)
    upper = min(max(far, 1 - tar) for far, tar in points)
    lower = max(min(far, 1 - tar) for far, tar in points)
    assert lower - 1e-12 <= balanced <= upper + 1e-12


@settings(max_examples=40, deadline=None)
@given(scored_pairs())
def test_error_rates_depend_on_the_order_of_scores_only(case) -> None:
    scores, same = case
    for transformed in (np.exp(scores), scores**3, 5 * scores - 100):
        assert equal_error_rate(transformed, same) == pytest.approx(equal_error_rate(scores, same))
        assert tar_at_far(transformed, same, 0.1) == pytest.approx(tar_at_far(scores, same, 0.1))


@settings(max_examples=40, deadline=None)
@given(scored_pairs())
def test_swapping_the_two_kinds_and_the_sign_keeps_the_equal_error_rate(case) -> None:
    scores, same = case
    assert equal_error_rate(-scores, ~same) == pytest.approx(equal_error_rate(scores, same))


def test_perfect_separation_has_no_error_and_reversed_scores_nothing_but_error() -> None:
    same = np.tile([True, False], 30)
    scores = np.where(same, 0.9, 0.1)
    assert ten_fold_accuracy(scores, same) == (1.0, 0.0)
    assert equal_error_rate(scores, same) == 0.0
    assert tar_at_far(scores, same, 0.0) == 1.0
    assert equal_error_rate(-scores, same) == 1.0


def test_scores_that_know_nothing_give_about_one_half() -> None:
    scores, same = random_scores(11, pairs=4000, shift=0.0, decimals=9)
    assert equal_error_rate(scores, same) == pytest.approx(0.5, abs=0.04)
    assert ten_fold_accuracy(scores, same)[0] == pytest.approx(0.5, abs=0.04)
    assert tar_at_far(scores, same, 0.1) == pytest.approx(0.1, abs=0.03)


def test_normal_scores_reach_the_theoretical_rates() -> None:
    """Genuine N(2, 1) and impostor N(0, 1): EER = Phi(-1), TAR at FAR 0.01 = Phi(2 - 2.3263)."""
    scores, same = random_scores(5, pairs=40_000, shift=2.0, decimals=12)
    assert equal_error_rate(scores, same) == pytest.approx(0.15866, abs=0.005)
    assert tar_at_far(scores, same, 0.01) == pytest.approx(0.3721, abs=0.02)
    assert ten_fold_accuracy(scores, same)[0] == pytest.approx(0.84134, abs=0.005)


@settings(max_examples=60, deadline=None)
@given(scored_pairs())
def test_tar_at_a_reachable_far_is_the_best_over_all_thresholds(case) -> None:
    scores, same = case
    points = [rates(scores, same, t) for t in all_thresholds(scores)]
    for far in {far for far, _ in points}:
        assert tar_at_far(scores, same, far) == pytest.approx(max(tar for f, tar in points if f == far))


def test_tar_between_two_reachable_far_values_is_interpolated() -> None:
    """ROC vertices (0, 1/2), (1/2, 1/2), (1/2, 1), (1, 1), then with a tie (0, 1/2) to (1, 1)."""
    same = np.array([True, True, False, False])
    steps = np.array([4.0, 2.0, 3.0, 1.0])
    assert [tar_at_far(steps, same, far) for far in (0.0, 0.25, 0.5, 1.0)] == [0.5, 0.5, 1.0, 1.0]
    assert tar_at_far(np.array([4.0, 2.0, 2.0, 2.0]), same, 0.5) == pytest.approx(0.75)


@pytest.mark.parametrize(
    ("scores", "same", "reason"),
    [
        ([0.1, np.nan], [True, False], "not all are finite"),
        ([0.1, 0.2], [True, True], "need both kinds"),
        ([0.1, 0.2], [True], "equally long"),
        ([], [], "equally long"),
    ],
)
def test_scores_without_a_curve_are_refused(scores, same, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        equal_error_rate(np.asarray(scores, dtype=float), np.asarray(same, dtype=np.bool_))


@pytest.mark.parametrize("far", [-0.1, 1.1, float("nan")])
def test_a_far_outside_zero_to_one_is_refused(far: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        tar_at_far(np.array([0.0, 1.0]), np.array([False, True]), far)
