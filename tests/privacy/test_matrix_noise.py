"""Correlated noise: its rows, its exact privacy loss over rounds, its bounds, and what planted bugs cost."""

import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedpriv.privacy.client_level import ClientLevel, ServerNoise
from fedpriv.privacy.concentrated import epsilon_of
from fedpriv.privacy.discrete_gaussian import DISTANCE
from fedpriv.privacy.matrix_mechanism import INDEPENDENT, square_root
from fedpriv.privacy.matrix_noise import NoiseMemory, NoiseRow
from fedpriv.privacy.noise import FastSource, RandomSource, SecureSource
from fedpriv.privacy.sum_plan import SumPlan, plan_sum

DELTA = 1e-5
# one coordinate, whole steps: integers of at most 3, see test_sum_plan
NORM = 2.42


def plan(**changed) -> SumPlan:
    given = {
        "clipping_norm": 1.0,
        "step": 2.0**-11,
        "dimension": 3000,
        "contributors": 1,
        "rounds": 12,
        "delta": DELTA,
        "epsilon": 8.0,
        "where": "server",
        "matrix": square_root(4),
        "separation": 4,
    }
    if "noise_multiplier" in changed:
        given.pop("epsilon")
    return plan_sum(**given | changed)


def small(**changed) -> SumPlan:
    made = SumPlan(NORM, 1.0, 1, "server", 1, 3, DELTA, Fraction(16), None, 0, square_root(2), 2, 2)
    return replace(made, **changed)


def exact_delta(made: SumPlan, moved, epsilon: float, numerators=None) -> float:
    """The least delta of what all rows tell of integers ``moved``, exact but for 1e-13.

    Over all values of z: a row W is z less its rounded correction; the neighbour that moves the sums the
    other way has rows W + q moved, and its z follows from them. From the definition, in whole numbers.
    """
    q, sigma2 = made.refinement, float(made.variance) * made.refinement**2
    numerators = made.matrix.numerators if numerators is None else numerators
    reach = math.ceil(9.5 * math.sqrt(sigma2))
    z = [
        np.arange(-reach, reach + 1).reshape([-1 if axis == row else 1 for axis in range(len(moved))])
        for row in range(len(moved))
    ]

    def corrections(rows):
        """What the next row takes back."""
        back = sum(n * rows[-j] for j, n in enumerate(numerators) if 0 < j <= len(rows))
        return np.floor_divide(2 * back + 2**20, 2**21) if rows and len(numerators) > 1 else 0

    ours, theirs, exponent, chance = [], [], 0.0, 1.0
    for row, move in zip(z, moved, strict=True):
        weights = np.exp(-(row**2) / (2 * sigma2))
        chance = chance * (weights / weights.sum())
        w = row - corrections(ours)
        other = w + q * move + corrections([*theirs])
        exponent = exponent + (row**2 - other**2) / (2 * sigma2)
        ours.append(w)
        theirs.append(w + q * move)
    return float((chance * np.maximum(0.0, 1.0 - np.exp(epsilon + exponent))).sum())


PATTERNS = [(3, 0, 3), (3, 0, -3), (-3, 0, 2), (1, 0, 1), (3, 0, 0), (0, 3, 0), (0, 0, 3)]


@pytest.mark.parametrize("moved", PATTERNS)
@pytest.mark.parametrize("delta", [1e-2, 1e-5])
def test_guarantee_the_claim_covers_the_exact_loss_of_three_correlated_rounds(moved, delta):
    made = replace(small(), delta=delta)
    parts = sum(map(bool, moved))
    assert exact_delta(made, moved, made.spent([1] * parts).epsilon) <= delta


def test_the_claim_is_no_idle_one():
    """Far below it the exact loss of two participations is above delta."""
    made = small()
    worst = max(exact_delta(made, moved, 0.6 * made.spent([1, 1]).epsilon) for moved in PATTERNS)
    assert worst > 10 * DELTA


def test_planted_the_sensitivity_of_one_participation_only_is_exceeded():
    made = small()
    assert exact_delta(made, (3, 0, -3), made.spent([1]).epsilon) > DELTA


def test_planted_a_sensitivity_that_forgets_the_later_rounds_is_exceeded():
    """As if c_0 = 1 were all there is of a column: the loss of independent noise of that variance."""
    made = small(matrix=square_root(3), separation=3)
    assert exact_delta(made, (3, 0, 0), made.spent([1]).epsilon) <= DELTA
    forgetful = replace(made, matrix=INDEPENDENT, refinement=1)
    assert exact_delta(made, (3, 0, 0), forgetful.spent([1]).epsilon) > DELTA


def test_planted_a_client_that_comes_before_its_turn_has_lost_more_than_it_paid_for():
    made = small()
    assert not made.apart(1, 2)
    claimed = made.spent([1, 1]).epsilon
    assert exact_delta(made, (3, 3, 0), claimed) > DELTA
    assert exact_delta(made, (3, 0, 3), claimed) <= DELTA


def test_planted_a_round_done_again_with_the_same_noise_tells_the_difference_of_the_sums():
    """The two sums differ by what the noise has in common, all of it: no epsilon covers that."""
    level = ClientLevel(plan(noise_multiplier=5.0))
    row = ServerNoise(level).source(1)
    noise = level.plan.draw(3000, row)
    lost, again = 7 + noise, 9 + noise
    assert set(again - lost) == {2}
    # so a resumed run draws afresh, and nothing of a row is anywhere but in the memory of the process
    other = level.plan.draw(3000, ServerNoise(level).source(1))
    assert not np.array_equal(noise, other)


class Numbers(RandomSource):
    """Deals the words of a plain generator, and says how many."""

    name = "numbers"

    def __init__(self, seed):
        self.dealt, self._random = 0, np.random.default_rng(seed)

    def uniform(self, count):
        return self._random.random(count)

    def normal(self, count):
        return self._random.standard_normal(count)

    def words(self, count):
        self.dealt += count
        return self._random.integers(0, 1 << 64, count, dtype=np.uint64)


def drawn_rows(made, rounds, blocks=None, seed=0, skipped=()):
    """The noise of each round, in steps; zeros for a round that draws none."""
    memory, found = made.memory(), []
    for number in range(1, rounds + 1):
        source = memory.source(number, FastSource(seed, "row", number))
        if number in skipped:
            found.append(np.zeros(made.dimension, np.int64))
            continue
        counts = blocks or [made.dimension]
        found.append(np.concatenate([made.draw(count, source) for count in counts]))
    return np.array(found)


def test_rows_are_the_inverse_of_the_matrix_times_independent_noise():
    """C W is z to within rounding: half a unit of the row and half a step of each that was drawn."""
    made = plan(rounds=9)
    rows = drawn_rows(made, 9)
    z = np.array([made.noise.draw(3000, FastSource(0, "row", number)) for number in range(1, 10)])
    c = np.zeros((9, 9))
    for row in range(9):
        for j in range(min(4, row + 1)):
            c[row, row - j] = made.matrix.coefficients[j]
    tolerance = 0.5 * c.sum(axis=1).max() + 1.0 / made.refinement
    assert np.abs(c @ rows - z / made.refinement).max() <= tolerance
    assert tolerance < 0.01 * math.sqrt(made.variance)


def test_rows_leave_in_prefix_sums_the_error_that_is_planned():
    made = plan(rounds=12)
    sums = np.cumsum(drawn_rows(made, 12), axis=0)
    expected = made.matrix.error(12) * math.sqrt(made.variance)
    assert np.sqrt(np.mean(sums.astype(float) ** 2)) == pytest.approx(expected, rel=0.03)
    alone = replace(made, matrix=INDEPENDENT, refinement=1, variance=Fraction(round(made.variance)))
    assert np.sqrt(np.mean(np.cumsum(drawn_rows(alone, 12), axis=0).astype(float) ** 2)) > 1.5 * expected


def test_planted_a_row_without_its_correction_is_noticed(monkeypatch):
    def forgetful(self, number):
        return np.zeros(self.length, np.int32), []

    monkeypatch.setattr(NoiseMemory, "begin", forgetful)
    with pytest.raises(AssertionError):
        test_rows_are_the_inverse_of_the_matrix_times_independent_noise()
    with pytest.raises(AssertionError):
        test_rows_leave_in_prefix_sums_the_error_that_is_planned()


def test_blocks_make_no_difference_to_the_correction():
    """Any division into blocks: the same rows from the same z."""

    class Same(NoiseRow):
        pass

    memories = [NoiseMemory(square_root(3), 8, 100) for _ in range(2)]
    random = np.random.default_rng(3)
    for number in (1, 2, 3, 4):
        z = random.integers(-5000, 5000, 100)
        whole = memories[0].source(number, SecureSource()).correlated(z)
        blocks = memories[1].source(number, SecureSource())
        parts = [blocks.correlated(part) for part in np.split(z, [1, 40, 99])]
        assert np.array_equal(whole, np.concatenate(parts))


def test_rows_are_whole_numbers_by_hand():
    """Bands 1 and 1/2, units of a quarter step: W = 10, then 7 - round(5) = 2, then -9 - round(1) = -10."""
    memory = NoiseMemory(square_root(2), 4, 1)
    found = [
        memory.source(number, SecureSource()).correlated(np.array([z])).tolist()
        for number, z in ((1, 10), (2, 7), (3, -9), (4, 0))
    ]
    # to steps, halves up: 10/4 -> 3, 2/4 -> 1, -10/4 -> -2; then 0 - round(-5) = 5 -> 1
    assert found == [[3], [1], [-2], [1]]


def test_one_band_is_independent_noise_bit_by_bit():
    made, before = plan(matrix=INDEPENDENT, separation=1), plan(matrix=square_root(1), separation=1)
    assert made == before
    rows = drawn_rows(made, 3, blocks=[1000, 2000])
    for number in (1, 2, 3):
        source = FastSource(0, "row", number)
        again = [made.noise.draw(count, source) for count in (1000, 2000)]
        assert np.array_equal(rows[number - 1], np.concatenate(again))
    assert made.reach == made.norm_bound
    fresh = SecureSource()
    assert made.memory().source(5, fresh) is fresh


def test_correlated_noise_uses_no_other_randomness_than_independent_noise():
    made = plan()
    one, other = Numbers(1), Numbers(1)
    made.draw(3000, made.memory().source(1, one))
    made.noise.draw(3000, other)
    assert one.dealt == other.dealt > 0


def test_guarantee_no_row_exceeds_the_bound_that_packing_has_room_for():
    """As large a z can be, of the sign that hurts most: C^{-1} times it, rounded."""
    made = plan(rounds=12, dimension=1)
    signs = np.sign(made.matrix.inverse(12))[::-1]
    memory = made.memory()
    for number, sign in enumerate(signs, 1):
        row = memory.source(number, SecureSource())
        last = int(row.correlated(np.array([int(sign) * made.noise.bound]))[0])
    bound = made.server_noise_bound
    assert 0.94 * bound < abs(last) <= bound
    assert made.client_noise_bound == 0
    assert np.abs(drawn_rows(plan(), 12)).max() <= plan().server_noise_bound


def largest_row(memory, drawn, matrix, bound):
    """The largest magnitude of a row after those that are drawn, as large and as bad a z as can be.

    By the definition, in floating point: which sign of each z moves the last row up.
    """
    rows, made = drawn[-1], np.zeros((drawn[-1] + 1, drawn[-1] + 1))
    for row in drawn:
        made[row, row] = 1.0
        for j in range(1, min(matrix.bands, row)):
            made[row] -= matrix.coefficients[j] * made[row - j]
    last = 0
    for row in drawn:
        z = bound if made[rows, row] >= 0 else -bound
        last = int(memory.source(row, SecureSource()).correlated(np.array([z]))[0])
    return abs(last), float(np.abs(made[rows]).sum())


@pytest.mark.parametrize("missing", [{89}, {50, 51, 89}, {70, 88, 89}])
def test_guarantee_no_row_exceeds_the_bound_whatever_rounds_are_left_out(missing):
    made = plan(rounds=90, dimension=1, matrix=square_root(16), separation=16)
    drawn = [row for row in range(1, 91) if row not in missing]
    last, growth = largest_row(made.memory(), drawn, made.matrix, made.noise.bound)
    assert last <= made.server_noise_bound
    # so rows that are all drawn are no bound, and these rows were not forgotten
    assert growth > made.matrix.growth(90) * 1.0005
    assert last == pytest.approx(growth * made.noise.bound / made.refinement, rel=1e-3)


@given(st.sets(st.integers(1, 29)), st.integers(2, 8), st.floats(1.0, 2.2))
def test_guarantee_rows_are_forgotten_before_they_grow_by_more(missing, bands, growth):
    memory = NoiseMemory(square_root(bands), 1, 1, growth)
    drawn = [row for row in range(1, 31) if row not in missing]
    last, _ = largest_row(memory, drawn, memory.matrix, 10**6)
    assert last <= growth * (10**6 + 0.5)


def test_edge_rows_that_were_forgotten_are_as_those_of_a_new_memory():
    memory, new = NoiseMemory(square_root(3), 1, 1, 1.6), NoiseMemory(square_root(3), 1, 1, 1.6)
    first = [memory.source(row, SecureSource()).correlated(np.array([100]))[0] for row in (1, 2, 3, 4)]
    again = [new.source(row, SecureSource()).correlated(np.array([100]))[0] for row in (3, 4)]
    assert first == [100, 50, 100, 50]
    assert again == first[2:]


def test_guarantee_no_round_s_row_is_drawn_twice_and_none_before_it_after_it():
    made = plan()
    memory = made.memory()
    made.draw(3000, memory.source(2, SecureSource()))
    for number in (2, 1):
        with pytest.raises(ValueError, match=rf"^round {number}: its noise was drawn before$"):
            made.draw(3000, memory.source(number, SecureSource()))


def test_guarantee_of_all_rows_the_last_are_kept():
    made = plan()
    memory = made.memory()
    for number in range(1, 9):
        made.draw(3000, memory.source(number, SecureSource()))
    assert sorted(memory._rows) == [5, 6, 7, 8]
    assert {row.nbytes for row in memory._rows.values()} == {4 * 3000}
    assert "_rows" not in repr(memory)


def test_edge_a_round_that_draws_nothing_has_a_row_of_zeros():
    made = plan(rounds=6)
    rows = drawn_rows(made, 6, skipped=(2, 5))
    z = np.array([made.noise.draw(3000, FastSource(0, "row", number)) for number in range(1, 7)])
    for number in (3, 4, 6):
        c = made.matrix.coefficients
        whole = sum(c[j] * rows[number - 1 - j] for j in range(min(4, number)))
        assert np.abs(whole - z[number - 1] / made.refinement).max() < 3.0


def test_edge_a_new_memory_begins_anew():
    made = plan()
    first = made.draw(3000, made.memory().source(7, FastSource(1)))
    assert np.array_equal(first, made.draw(3000, made.memory().source(1, FastSource(1))))


def test_edge_a_row_ends():
    memory = NoiseMemory(square_root(2), 1, 3)
    row = memory.source(1, SecureSource())
    row.correlated(np.zeros(2, np.int64))
    with pytest.raises(ValueError, match=r"^noise: a row has 3 coordinates, 4 were asked for$"):
        row.correlated(np.zeros(2, np.int64))


def test_a_row_deals_the_randomness_of_its_source():
    row = NoiseMemory(square_root(2), 1, 3).source(1, FastSource(4, "x"))
    same = FastSource(4, "x")
    assert row.name == same.name
    assert row.words(3).tolist() == same.words(3).tolist()
    assert row.uniform(3).tolist() == same.uniform(3).tolist()
    assert row.normal(3).tolist() == same.normal(3).tolist()


def test_edge_correlated_noise_is_not_drawn_without_the_rows_before():
    with pytest.raises(TypeError, match=r"^noise: is correlated over rounds"):
        plan().draw(5, SecureSource())


def test_without_client_level_privacy_the_server_draws_nothing():
    assert ServerNoise(None).source(1) is None


@pytest.mark.parametrize("bands", [1, 2, 4])
def test_a_target_is_met_by_the_participations_of_one_client(bands):
    """12 rounds, one of four at most: 3 participations, whatever the bands."""
    made = plan(matrix=square_root(bands))
    assert made.participations == 3
    assert 0.998 * 8.0 < made.planned().epsilon <= 8.0
    assert made.planned() == made.spent([1, 1, 1])
    assert made.lasts()
    assert made.may_release([1, 1], 1)
    assert not made.may_release([1, 1, 1], 1)


def test_guarantee_a_participation_is_paid_for_by_the_formula():
    """That is sum_j (c_j norm + r)^2 / (2 sigma^2), r = sqrt(d) / q for the rounding of later rows."""
    made = plan(noise_multiplier=2.0)
    c, norm = made.matrix.coefficients, made.norm_bound
    rounding = min(math.sqrt(3000), norm) / made.refinement
    squares = norm**2 + sum((c[j] * norm + rounding) ** 2 for j in (1, 2, 3))
    assert made.rho(1) == pytest.approx(squares / (2 * float(made.variance)), rel=1e-9)
    assert made.rho(1) == pytest.approx(1 / 8, rel=1e-4)
    assert made.noise_multiplier == pytest.approx(2.0, rel=1e-4)
    assert made.spent([1, 1]).epsilon == pytest.approx(epsilon_of(2 / 8, DELTA), rel=2e-4)
    # rounding costs next to nothing
    assert made.reach < made.matrix.spread(norm) * 1.001
    # the samples of every row that a participation reaches
    assert made.distance(1) == 4 * 3000 * DISTANCE


def test_independent_noise_in_turns_is_paid_for_by_the_participations_too():
    turns, always = plan(matrix=INDEPENDENT), plan(matrix=INDEPENDENT, separation=1)
    assert (turns.participations, always.participations) == (3, 12)
    assert turns.variance < always.variance / 3.5


@pytest.mark.parametrize("step", [2.0**-7, 2.0**-11, 2.0**-15, 2.0**-20])
def test_the_units_are_as_fine_as_samples_allow(step):
    made = plan(step=step)
    units = float(made.variance) * made.refinement**2
    assert 1 <= made.refinement <= 1 << 10
    assert (
        made.refinement in (1, 1 << 10) or 4 * units * made.matrix.growth_with_gaps(12) ** 2 > 2.0**46 * 0.999
    )
    assert made.matrix.spread(made.norm_bound) <= made.reach < 1.002 * made.matrix.spread(made.norm_bound)
    assert made.noise.variance == made.variance * made.refinement**2
    # rows fit in 32 bits
    assert (made.noise.bound + 1) * made.matrix.growth_with_gaps(12) < 2**31
    assert made.server_noise_bound < 2**30


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"where": "clients"}, r"^where='clients': only the server knows the noise of the rounds before$"),
        ({"separation": 3}, r"^bands=4 must be at most the 3 rounds"),
        ({"separation": 0}, r"^separation=0 must be at least 1$"),
    ],
)
def test_what_does_not_fit_correlated_noise_is_refused(changed, said):
    with pytest.raises(ValueError, match=said):
        plan(**changed)


@pytest.mark.parametrize("refinement", [0, 3, 1 << 11])
def test_units_that_are_no_power_of_two_are_refused(refinement):
    with pytest.raises(ValueError, match=rf"^refinement={refinement} must be a power of two"):
        replace(small(), refinement=refinement)
    with pytest.raises(ValueError, match=r"^refinement=2 must be 1"):
        replace(small(), matrix=INDEPENDENT, refinement=2)


def test_noise_that_cannot_be_drawn_is_refused_with_the_mend():
    with pytest.raises(
        ValueError, match=r"^noise_multiplier=1000000000.0: noise .* out of reach; use a larger step"
    ):
        plan(noise_multiplier=1e9)


@pytest.mark.parametrize(
    ("last", "number", "may"), [(None, 1, True), (1, 5, True), (1, 4, False), (5, 5, False), (9, 2, False)]
)
def test_a_client_takes_part_in_rounds_that_are_far_enough_apart(last, number, may):
    assert plan().apart(last, number) is may
    assert plan(matrix=INDEPENDENT, separation=1).apart(last, number)
