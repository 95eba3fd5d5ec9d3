"""What the key holder's opened numbers tell: the sign, and of the distance no more than is stated."""

import math

import numpy as np
import pytest

from fedpriv.he.matching.blinding import (
    DEVIATION,
    FACTOR_BITS,
    FRACTION_BITS,
    MASK,
    OPENED_UNIT,
    directions,
    factors,
)
from fedpriv.he.matching.gallery import Gallery
from fedpriv.he.matching.matcher import Matcher, PlainMatcher
from fedpriv.he.matching.people import Place, unit
from fedpriv.he.matching.products import Products
from fedpriv.he.matching.reading import read_columns
from tests.he.matching.conftest import put, sent

FULL = 4096


def opened(keys, question):
    """Return y of all slots, as the key holder sees them."""
    return keys.decrypt_floats(question.ciphertexts[0]) / OPENED_UNIT


def distance_to_uniform(values):
    """Return the Kolmogorov-Smirnov distance of values in [0, 1] to the uniform distribution."""
    ordered, steps = np.sort(values), np.arange(len(values) + 1) / len(values)
    return max(np.abs(steps[1:] - ordered).max(), np.abs(ordered - steps[:-1]).max())


def total_variation(first, second, bins):
    edges = np.linspace(-5, 35, bins + 1)
    return (
        0.5
        * np.abs(
            np.histogram(first, edges)[0] / len(first) - np.histogram(second, edges)[0] / len(second)
        ).sum()
    )


@pytest.fixture(scope="module")
def crowd(keys, tmp_path_factory):
    """A block of 2,048 people with score 0.9 in its odd slots, and as many with 0.3 in its even ones."""
    gallery = Gallery.make(tmp_path_factory.mktemp("crowd") / "g", keys.public, 2)
    vectors = np.tile([[0.3, math.sqrt(1 - 0.09)], [0.9, math.sqrt(1 - 0.81)]], (FULL // 2, 1))
    put(keys, gallery, vectors)
    with Matcher(gallery) as matcher:
        yield matcher


@pytest.mark.parametrize("factor", [1.0, 2.0, 10.0, 2.0**16, 2.0**20])
def test_two_scores_differ_by_the_total_variation_that_is_stated(factor):
    count = 200_000
    near, far = np.log2(factors(count) * 0.05), np.log2(factors(count) * 0.05 * factor)
    # samples of one distribution in 80 bins differ by about sqrt(80 / (pi count))
    expected = min(1.0, math.log2(factor) / FACTOR_BITS)
    assert total_variation(near, far, 80) == pytest.approx(expected, abs=0.03)


def test_factors_are_log_uniform_over_16_bits():
    drawn = factors(50_000)
    assert drawn.min() >= 1
    assert drawn.max() <= 2**16
    assert distance_to_uniform(np.log2(drawn) / 16) < 0.02


def test_opened_numbers_are_the_score_times_such_a_factor_and_no_two_alike(keys, crowd):
    y = opened(keys, crowd.accepted(np.array([1.0, 0.0]), 0.5))
    for slots, reached in ((slice(0, None, 2), -0.2), (slice(1, None, 2), 0.4)):
        ratio = y[slots] / reached
        # r below 1 comes from encoding, whose error has a deviation of 0.2: below 0 one run in 300,000 has it
        assert (ratio > 0).all()
        assert distance_to_uniform(np.clip(np.log2(ratio) / 16, 0, 1)) < 0.08
        # 2,048 of them lie within 0.5 of the next 17 times by chance; factors that serve two slots, 350 times
        assert np.sum(np.diff(np.sort(ratio[ratio > 1000])) < 0.5) < 70


def test_no_score_can_be_tested_by_dividing_by_it(keys, crowd):
    """Factors were multiples of 2^-7 before encoding; at 0.9 - -1 the noise alone would not hide that."""
    y = opened(keys, crowd.accepted(np.array([1.0, 0.0]), -1.0))[1::2]
    assert distance_to_uniform(y / 1.9 * 2**7 % 1) < 0.08


def test_of_people_not_asked_about_nothing_is_told(keys, crowd):
    """Their numbers are uniform, 0.15 from the threshold as 0.45 from it."""
    person = crowd._gallery.ids()[0]
    _, slot = crowd._gallery.place_of(person)
    y = [np.abs(opened(keys, crowd.verify(np.array([1.0, 0.0]), person, 0.45))) for _ in range(4)]
    near, far = (np.concatenate([np.delete(each, slot)[first::2] for each in y]) for first in (0, 1))
    for values in (near, far):
        assert distance_to_uniform(values / MASK) < 0.03
    # two samples of 8,192: 2.56 sqrt(2 / 8192) at the level 4e-6
    assert distance_between(near, far) < 0.04


def distance_between(first, second):
    """Return the Kolmogorov-Smirnov distance of two samples."""
    points = np.concatenate([first, second])
    one, other = (
        np.searchsorted(np.sort(each), points, side="right") / len(each) for each in (first, second)
    )
    return np.abs(one - other).max()


def test_the_probe_is_not_rebuilt_from_the_people_not_asked_about(keys, tmp_path):
    """A regression of what four questions open on the templates, which the key holder has."""
    dim, random = 24, np.random.default_rng(0)
    vectors = unit(random.standard_normal((FULL, dim)))
    gallery = Gallery.make(tmp_path / "g", keys.public, dim)
    person = put(keys, gallery, vectors)[0]
    slot, probe = gallery.place_of(person)[1], unit(random.standard_normal(dim))
    others = np.delete(vectors, slot, 0)
    found = {}
    with Matcher(gallery) as matcher:
        for kind in ("verify", "accepted"):
            questions = (
                matcher.verify(probe, person, 0.5) if kind == "verify" else matcher.accepted(probe, 0.5)
                for _ in range(4)
            )
            sizes = np.mean(
                [np.log2(np.abs(np.delete(opened(keys, each)[:FULL], slot))) for each in questions], axis=0
            )
            found[kind] = unit(-others.T @ (sizes - sizes.mean())) @ probe
    # by chance above 0.8 with a probability of 8e-7 (of an even direction in 24 dimensions a coordinate's
    # square is Beta(1/2, 23/2)); factors without a mask tell it: 0.97, with a deviation of 0.01
    assert found["verify"] < 0.8 < found["accepted"]


def test_one_person_is_asked_about_and_of_the_others_not_even_the_sign_is_told(keys, crowd):
    person = crowd._gallery.ids()[0]
    block, slot = crowd._gallery.place_of(person)
    # of everybody the score is below 0.95
    y = opened(keys, crowd.verify(np.array([1.0, 0.0]), person, 0.95))
    assert y[slot] < 0
    others = np.delete(y, slot)
    # 4,095 coins
    assert abs((others > 0).mean() - 0.5) < 0.06
    assert block == 0


def test_the_order_is_kept_where_one_factor_serves_all(keys, crowd):
    y = opened(keys, crowd.identify(np.array([1.0, 0.0]), 0.5))
    ratio = np.median(y[1::2]) / np.median(y[::2])
    assert ratio == pytest.approx(0.4 / -0.2, rel=0.01)


def test_empty_slots_tell_nothing_of_the_factor(keys, tmp_path):
    gallery = Gallery.make(tmp_path / "g", keys.public, 2)
    put(keys, gallery, np.array([[0.9, math.sqrt(1 - 0.81)]]), [Place(0, (17,))])
    with Matcher(gallery) as matcher:
        y = opened(keys, matcher.identify(np.array([1.0, 0.0]), 0.5))
    empty = np.delete(y, 17)
    assert y[17] > 0 > empty.max()
    assert distance_to_uniform(np.clip(np.log2(-empty) / 16, 0, 1)) < 0.05


def test_equal_questions_open_to_different_numbers(keys, crowd):
    probe = np.array([1.0, 0.0])
    for ask in (crowd.identify, crowd.accepted):
        # that 8 of 16 bits come within one bit has a probability of 2^-25
        numbers = [opened(keys, ask(probe, 0.5))[1] for _ in range(8)]
        assert max(numbers) > 2 * min(numbers)


def test_flooding_has_the_deviation_that_is_stated_and_does_not_grow_with_the_factor(keys, crowd):
    """With one factor for all, what differs between 2,048 equal scores is the noise alone."""
    for _ in range(3):
        for given in (np.array([1.0, 0.0]), sent(keys.public, np.array([1.0, 0.0]), keys)):
            noise = opened(keys, crowd.identify(given, 0.5))[1::2].std()
            assert noise == pytest.approx(DEVIATION, rel=0.1)


def test_directions_are_even():
    drawn = directions(100_000)
    assert distance_to_uniform((drawn + 1) / 2) < 0.02


def test_what_flooding_hides_is_smaller_by_the_factor_that_is_stated(keys, crowd):
    """The noise of a caller's probe under the largest factor, before anything is added to it."""
    gallery, products = crowd._gallery, Products(keys.public)
    ((segment,),) = gallery.segments().values()
    columns = read_columns(gallery.files.path_of(segment), keys.public, segment, 2, range(2))
    probe, evaluation = np.array([0.6, 0.8]), products.evaluation
    plain = PlainMatcher(keys.public, np.tile([[0.3, math.sqrt(1 - 0.09)]], (FULL, 1)))
    factors = products.factors(sent(keys.public, probe, keys))
    for total in (
        evaluation.relinearise(products.sum(columns, factors)),
        products.sum_plain_columns(plain._columns[0], factors),
    ):
        largest = evaluation.constant(2.0 ** (FACTOR_BITS + FRACTION_BITS), like=total, scale=1.0)
        noisy = evaluation.rescale(evaluation.multiply_plain(total, largest))
        y = keys.decrypt_floats(noisy)[::2] / OPENED_UNIT
        expected = 2.0**FACTOR_BITS * (0.3 * 0.6 + math.sqrt(1 - 0.09) * 0.8)
        hidden = (y - expected).std()
        # that of 128 dimensions, which is stated, is larger: noise grows with the probe's length alone
        assert hidden < DEVIATION * 2.0**-10
