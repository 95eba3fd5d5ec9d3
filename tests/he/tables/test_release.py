import math
from fractions import Fraction

import numpy as np
import pytest

from fedpriv.errors import UserError
from fedpriv.he.tables.plan import TablePlan
from fedpriv.he.tables.release import PrivateRelease
from fedpriv.he.tables.schema import Column, Schema
from fedpriv.he.tables.sums import Sums
from fedpriv.he.tables.vectors import TableVectors
from fedpriv.he.tables.wide_gaussian import WideGaussian
from fedpriv.privacy.concentrated import epsilon_of
from fedpriv.privacy.noise import FastSource
from tests.he.tables.tables import plain_sums

SCHEMA = Schema(
    (
        Column("a", 0, -3, 9, (-3, 0, 9)),
        Column("b", 1, 0, 250),
        Column("c", 0, 0, 1),
        Column("d", 0, 5, 5),
        Column("e", 2, -900, 40),
    ),
    "g",
    ("x", "y"),
)
"""Five columns are two packs, of which the second is not full."""


def row(values, masks, part):
    columns = SCHEMA.columns
    x = np.array([[(v - c.offset) * m] for v, m, c in zip(values, masks, columns, strict=True)], np.int64)
    bin_of_a = -1 if not masks[0] else int(values[0] >= 0)
    return TableVectors(
        x, np.array([[m] for m in masks], np.int64), np.array([part]), {0: np.array([bin_of_a])}
    )


def blocks_of(sums: Sums, pairs: bool):
    """Return what a result of these sums opens to, block by block."""
    names = {"mm": "counts_of_pairs", "xm": "totals_of_pairs", "qm": "squares_of_pairs", "xx": "products"}
    single = {"m1": "counts", "x1": "totals", "q1": "squares"}
    found = []
    for block in TablePlan(SCHEMA).blocks(pairs):
        rows, columns = (slice(4 * each.pack, 4 * each.pack + 4) for each in (block.left, block.right))
        kind = block.left.kind + block.right.kind
        if kind == "h1":
            found.append(sums.bins[0][rows][:, np.newaxis])
        elif kind in single:
            found.append(getattr(sums, single[kind])[block.left.scope, rows][:, np.newaxis])
        else:
            found.append(getattr(sums, names[kind])[block.left.scope, rows, columns])
    return found


@pytest.mark.parametrize("pairs", [True, False])
def test_no_row_within_the_bounds_costs_more_than_the_mechanism_says(pairs):
    """By the noise that is really drawn: sum over all sums of (change)^2 / (2 variance) is at most rho."""
    release = PrivateRelease(SCHEMA, pairs, 1.0, 1e-6)
    rho, touched = release.mechanism.rho, release.touched
    random = np.random.default_rng(0)
    extremes = [[c.low for c in SCHEMA.columns], [c.high for c in SCHEMA.columns]]
    rows = extremes + [[random.choice([c.low, c.high]) for c in SCHEMA.columns] for _ in range(20)]
    plan = TablePlan(SCHEMA)
    dearest = 0.0
    for number, values in enumerate(rows):
        masks = [1] * 5 if number < 12 else list(random.integers(0, 2, 5))
        changes = blocks_of(plain_sums(row(values, masks, number % 3), SCHEMA), pairs)
        cost = 0.0
        for block, change in zip(plan.blocks(pairs), changes, strict=True):
            widest = np.multiply.outer(plan.reaches(block.left), plan.reaches(block.right))
            variances = widest.astype(float) ** 2 * touched / (2 * rho)
            cost += float((change.astype(float) ** 2 / (2 * variances)).sum())
        dearest = max(dearest, cost)
        assert cost <= rho * (1 + 1e-9)
    assert dearest > rho / 2  # the bound is not idle


def test_a_row_is_in_as_many_sums_as_are_counted():
    # five columns as 4 + 1; masks and products are symmetric between packs; one histogram
    assert PrivateRelease(SCHEMA, False, 1.0, 1e-6).touched == 3 * 5 + 1
    assert PrivateRelease(SCHEMA, True, 1.0, 1e-6).touched == 2 * (16 + 4 + 1) + 2 * 25 + 1


def test_rho_is_the_greatest_that_epsilon_allows():
    release = PrivateRelease(SCHEMA, True, 0.7, 1e-5)
    rho = release.mechanism.rho
    assert epsilon_of(rho, 1e-5) <= 0.7
    assert epsilon_of(rho * 1.01, 1e-5) > 0.7
    assert release.mechanism.unit == "sample"


def test_noise_has_the_variance_that_rho_asks_for():
    schema = Schema((Column("a", 0, -3, 3), Column("b", 0, 0, 2000), Column("c", 0, 0, 2**24)), pairs=False)
    release = PrivateRelease(schema, False, 1.0, 1e-6)
    source = FastSource(1)
    drawn = np.array([np.concatenate(release.noise(source))[:, 0] for _ in range(400)])[:, :9]
    sensitivities = np.array([1, 1, 1, 3, 1000, 2**23, 9, 10**6, 2**46])
    expected = sensitivities.astype(float) ** 2 * release.touched / (2 * release.mechanism.rho)
    assert release.touched == 9
    # 400 draws: a variance is off by a factor of 1.4 with probability below 1e-6
    ratio = (drawn.astype(float) ** 2).mean(axis=0) / expected
    assert ((ratio > 1 / 1.4) & (ratio < 1.4)).all()


def test_a_wide_gaussian_is_one_on_all_integers():
    """Its residues modulo the grid, and its deviation, are those of the discrete Gaussian."""
    deviation = 2.0**30
    drawn = WideGaussian(Fraction(2**60)).draw(20000, FastSource(2))
    for modulus in (2, 2**11, 2**12):
        counts = np.bincount(drawn % modulus * 16 // modulus if modulus > 16 else drawn % modulus)
        spread = np.abs(counts - counts.mean()) / np.sqrt(counts.mean())
        assert spread.max() < 6
    assert abs((drawn / deviation).var() - 1) < 0.06
    tail = np.mean(np.abs(drawn) > 2 * deviation)
    assert abs(tail - 0.0455) < 0.009


def test_noise_that_is_too_wide_is_refused():
    with pytest.raises(UserError, match="the noise is too wide"):
        WideGaussian(Fraction(2**109))


@pytest.mark.parametrize(
    ("epsilon", "delta", "message"),
    [
        (0.0, 1e-6, "--epsilon 0"),
        (math.inf, 1e-6, "--epsilon inf"),
        (math.nan, 1e-6, "--epsilon nan"),
        (1.0, 0.0, "--delta 0"),
        (1.0, 1.0, "--delta 1"),
    ],
)
def test_numbers_out_of_range_are_refused(epsilon, delta, message):
    with pytest.raises(UserError, match=message):
        PrivateRelease(SCHEMA, True, epsilon, delta)
