"""The sampler against the probabilities themselves, summed independently with 80 digits."""

import decimal
import math
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2, chisquare, kstest

from fedpriv.privacy.discrete_gaussian import DISTANCE, DiscreteGaussian, variance_at_least
from fedpriv.privacy.noise import FastSource, RandomSource, SecureSource

# a test of secure noise cannot be seeded: this makes a false alarm rarer than one run in a million
ALPHA = 1e-7
SAMPLES = 200_000


def law(variance: Fraction, reach: int) -> dict[int, Decimal]:
    """The probabilities of -reach..reach, to 80 digits; what lies beyond must be negligible."""
    with decimal.localcontext(decimal.Context(prec=80, traps=[])):
        weights = {
            x: (Decimal(-x * x * variance.denominator) / Decimal(2 * variance.numerator)).exp()
            for x in range(-reach, reach + 1)
        }
        total = sum(weights.values())
        return {x: weight / total for x, weight in weights.items()}


def chi_square(drawn: np.ndarray, variance: Fraction) -> float:
    """The p-value of the samples in bins of about equal probability, at most 200 of them."""
    reach = math.isqrt(math.ceil(variance)) * 20 + 20
    probability = np.array([float(p) for p in law(variance, reach).values()])
    edge = np.minimum((np.cumsum(probability) * 200).astype(int), 199)
    expected = np.bincount(edge, probability, 200) * len(drawn)
    observed = np.bincount(edge[drawn + reach], minlength=200)
    full = expected > 20
    rest = ~full
    return chisquare(
        np.append(observed[full], observed[rest].sum() + 1),
        np.append(expected[full], expected[rest].sum() + 1),
        sum_check=False,
    ).pvalue


class Scripted(RandomSource):
    """Words that a test chooses."""

    def __init__(self, word: int) -> None:
        self.word = word

    def uniform(self, count):
        raise AssertionError("a discrete sampler uses no floating-point number")

    normal = uniform

    def words(self, count):
        return np.full(count, self.word, np.uint64)


# 31^2 is among the last variances with steps of width 1, 32^2 the first with 2, 300^2 has 16
@pytest.mark.parametrize("deviation", ["3/10", "1", "27/10", "31", "32", "81/2", "300"])
@pytest.mark.parametrize("make", [SecureSource, lambda: FastSource(1, "dg")], ids=["secure", "fast"])
def test_samples_follow_the_law(deviation, make):
    variance = Fraction(deviation) ** 2
    assert chi_square(DiscreteGaussian(variance).draw(SAMPLES, make()), variance) > ALPHA


@pytest.mark.parametrize("deviation", [1, 40, 300])
def test_the_test_above_would_notice_a_standard_deviation_wrong_by_three_percent(deviation):
    drawn = DiscreteGaussian(Fraction(deviation**2)).draw(SAMPLES, FastSource(1))
    for factor in ("97/100", "103/100"):
        assert chi_square(drawn, (deviation * Fraction(factor)) ** 2) < ALPHA


def anchors_of(sampler: DiscreteGaussian) -> dict[tuple[int, int], Fraction]:
    """The exact probability of every (sign, anchor) that the alias table stands for."""
    full = 1 << 118
    found: dict[tuple[int, int], Fraction] = {}
    for column in range(1024):
        own = (int(sampler._high[column]) << 64) + int(sampler._low[column])
        assert 0 <= own <= full
        for entry, share in ((column, own), (int(sampler._alias[column]), full - own)):
            if share:
                key = (int(sampler._signs[entry]), int(sampler._anchors[entry]))
                found[key] = found.get(key, Fraction(0)) + Fraction(share, 1 << 128)
    return found


@pytest.mark.parametrize("variance", ["1/100", "1/2", "1", "50/3", "900", "1024", "1640", "40000"])
def test_guarantee_the_law_that_is_drawn_is_within_the_stated_distance(variance):
    """The whole mechanism, summed exactly: alias table, uniform step, kept with exp(-g)."""
    variance = Fraction(variance)
    sampler = DiscreteGaussian(variance)
    width = sampler._width
    with decimal.localcontext(decimal.Context(prec=80, traps=[])):
        drawn: dict[int, Decimal] = {}
        for (sign, anchor), share in anchors_of(sampler).items():
            for step in range(width):
                kept = -Fraction(step * (2 * anchor + step)) / (2 * variance)
                magnitude = anchor + step
                if magnitude or sign > 0:
                    weight = (Decimal(kept.numerator) / Decimal(kept.denominator)).exp() * share.numerator
                    value = drawn.get(sign * magnitude, Decimal(0))
                    drawn[sign * magnitude] = value + weight / share.denominator / width
        total = sum(drawn.values())
        assert total > Decimal("0.9")
        wanted = law(variance, 2 * sampler.bound)
        assert set(drawn) <= set(wanted)
        distance = sum(abs(drawn.get(x, Decimal(0)) / total - p) for x, p in wanted.items()) / 2
    assert max(drawn) <= sampler.bound
    assert 0 < distance < DISTANCE


@pytest.mark.parametrize("g", [(15, 3200), (15, 1600), (9, 320), (1, 16), (0, 160)])
def test_a_pair_is_kept_with_probability_exp_minus_g(g):
    step, anchor = g
    sampler = DiscreteGaussian(Fraction(256**2))
    assert sampler._width == 16  # the widest for its sigma: g is largest
    wanted = math.exp(-step * (2 * anchor + step) / (2 * float(sampler.variance)))
    kept = sampler._keeps(np.full(SAMPLES, anchor), np.full(SAMPLES, step), FastSource(3, *g)).sum()
    assert abs(kept / SAMPLES - wanted) <= 5.5 * math.sqrt(wanted * (1 - wanted) / SAMPLES)


@pytest.mark.parametrize(
    "variance", [Fraction(65536), Fraction(65537, 7), Fraction(2**52), Fraction(2**60, 2**9 - 1)]
)
def test_the_decision_is_exact_to_the_last_integer(variance):
    """Against Python's integers, with draws at the very edge: g is met by one less and not by itself."""
    sampler = DiscreteGaussian(variance)
    random = np.random.default_rng(1)
    anchors = random.integers(0, (sampler.bound + 1) // sampler._width, 20) * sampler._width
    steps = random.integers(1, sampler._width, 20)
    anchors[0], steps[0] = sampler.bound + 1 - sampler._width, sampler._width - 1
    for anchor, step in zip(anchors, steps, strict=True):
        edge = int(step) * (2 * int(anchor) + int(step)) * variance.denominator
        assert edge < 2 * variance.numerator
        for first, kept in ((edge - 1, False), (edge, True)):

            class Edge(Scripted):
                def below(self, bound, count):
                    assert bound in (2 * variance.numerator, 2)
                    answer, self.word = self.word, bound - 1
                    return np.full(count, answer)

            # a success at the first trial and a failure at the second: an even number, refused
            assert sampler._keeps(np.array([anchor]), np.array([step]), Edge(first)).tolist() == [kept]


@pytest.mark.parametrize("variance", ["1/8", "1", "1600", "90000"])
def test_the_variance_is_that_of_the_closed_sum(variance):
    variance = Fraction(variance)
    reach = math.isqrt(math.ceil(variance)) * 20 + 20
    exact = float(sum(x * x * p for x, p in law(variance, reach).items()))
    assert exact <= float(variance) * (1 + 1e-12)
    squares = (DiscreteGaussian(variance).draw(SAMPLES, FastSource(2, str(variance))) ** 2).astype(float)
    # the sum of squares has mean N v and, as kurtosis is at most that of a two-point law, is near normal
    error = 6 * squares.std() / math.sqrt(SAMPLES)
    assert abs(squares.mean() - exact) < error
    if variance >= 1:
        assert chi2.ppf(ALPHA, SAMPLES) < squares.sum() / exact < chi2.isf(ALPHA, SAMPLES)


def test_a_huge_sigma_looks_like_the_continuous_gaussian():
    sigma = 2.0**26
    drawn = DiscreteGaussian(variance_at_least(sigma**2)).draw(SAMPLES, FastSource(4))
    assert kstest(drawn / sigma, "norm").pvalue > ALPHA
    # the lowest bits are as even as bits can be
    for bit in range(8):
        assert abs(int((drawn >> bit & 1).sum()) - SAMPLES / 2) < 3 * math.sqrt(SAMPLES)


@pytest.mark.parametrize("variance", [Fraction(1, 10**4), Fraction(5e-324)])
def test_edge_a_tiny_sigma_gives_zeros(variance):
    sampler = DiscreteGaussian(variance)
    assert not sampler.draw(10_000, SecureSource()).any()
    assert sampler.bound <= 1


@pytest.mark.parametrize("variance", [Fraction(1, 3), Fraction(4), Fraction(32**2), Fraction(2**52)])
def test_guarantee_no_words_lead_beyond_the_bound_and_the_bound_is_near_twelve_and_a_half_sigma(variance):
    sampler = DiscreteGaussian(variance)
    deviation = math.sqrt(variance)
    assert 12.5 * deviation <= sampler.bound + 1e-6
    assert sampler.bound <= 12.63 * deviation + 1
    reached = sampler._anchors + sampler._width - 1
    assert reached.max() == sampler.bound
    column = np.arange(1024, dtype=np.uint64)
    for word in (*column, *(column | np.uint64((1 << 64) - 1024))):
        assert sampler._entries(1, Scripted(int(word)))[0] in range(1024)


def test_a_tie_of_the_upper_bits_is_decided_by_the_lower_ones():
    sampler = DiscreteGaussian(Fraction(10))
    split = int(np.flatnonzero((sampler._low > 0) & (sampler._high > 0))[0])
    first = int(sampler._high[split]) << 10 | split
    low = int(sampler._low[split])

    class Two(Scripted):
        def words(self, count):
            answer, self.word = self.word, self.second
            return np.full(count, answer, np.uint64)

    for second, entry in ((low - 1, split), (low, int(sampler._alias[split]))):
        source = Two(first)
        source.second = second
        assert sampler._entries(1, source)[0] == entry
    assert sampler._alias[split] != split


@pytest.mark.parametrize("deviation", [3, 500])
def test_equal_seeds_give_equal_samples_and_others_do_not(deviation):
    sampler = DiscreteGaussian(Fraction(deviation**2))
    first, second = (sampler.draw(5000, FastSource(8, "a")) for _ in range(2))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, sampler.draw(5000, FastSource(8, "b")))
    assert np.array_equal(first, DiscreteGaussian(Fraction(deviation**2)).draw(5000, FastSource(8, "a")))


@pytest.mark.parametrize(
    ("deviation", "first"),
    [(3, [2, 0, -4, -3, 1, 1, 0, -1]), (1000, [598, 67, -1093, -744, 214, 337, 1944, -110])],
)
def test_samples_are_the_same_on_every_machine(deviation, first):
    """Golden values: no floating-point number takes part, so that nothing can differ."""
    assert DiscreteGaussian(Fraction(deviation**2)).draw(8, FastSource(1, "golden")).tolist() == first


@pytest.mark.parametrize("deviation", [3, 500])
@pytest.mark.parametrize("count", [0, 1, 2, 16_383, 16_385, 40_000])
def test_edge_any_count_gives_that_many_int64(deviation, count):
    drawn = DiscreteGaussian(Fraction(deviation**2)).draw(count, SecureSource())
    assert drawn.shape == (count,)
    assert drawn.dtype == np.int64


def test_samples_are_independent_across_blocks():
    drawn = DiscreteGaussian(Fraction(100**2)).draw(SAMPLES, FastSource(5)).astype(float)
    bound = 5.5 / math.sqrt(SAMPLES / 2)
    for lag in (1, 2, 16_384, SAMPLES // 2):
        for a, b in ((drawn[:-lag], drawn[lag:]), (drawn[:-lag] ** 2, drawn[lag:] ** 2)):
            assert abs(np.corrcoef(a, b)[0, 1]) < bound


@pytest.mark.parametrize("variance", [0, -1, (1 << 52) + 1])
def test_a_variance_out_of_range_is_refused(variance):
    with pytest.raises(ValueError, match=r"^variance="):
        DiscreteGaussian(Fraction(variance))
    with pytest.raises(ValueError, match=r"^variance="):
        variance_at_least(float(variance))


@pytest.mark.parametrize("variance", [math.nan, math.inf, -math.inf])
def test_a_variance_that_is_no_number_is_refused(variance):
    with pytest.raises(ValueError, match=r"^variance="):
        variance_at_least(variance)


def test_a_fraction_whose_terms_do_not_fit_64_bits_is_refused_with_a_mend():
    with pytest.raises(ValueError, match=r"^variance: numerator \d+ exceeds 2\^60; round with variance_at_"):
        DiscreteGaussian(Fraction(2**61 + 1, 2**40))
    # below 32^2 nothing is decided with them
    DiscreteGaussian(Fraction(2**61 + 1, 2**60))


@given(st.floats(2.0**-40, 2.0**52))
def test_rounding_of_a_variance_never_lowers_it_and_stays_close(variance):
    rounded = variance_at_least(variance)
    assert rounded >= Fraction(variance)
    assert rounded <= Fraction(variance) * (1 + Fraction(variance) / 2**59)
    # a power of two: no random word is rejected
    assert rounded.numerator & (rounded.numerator - 1) == 0
    assert rounded.numerator <= 1 << 60
