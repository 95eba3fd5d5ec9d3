"""The schedule against its formula, and its distribution."""

import hashlib
import hmac
import itertools
from collections import Counter

import pytest
from scipy import stats

from fedpriv.sharing.schedule import Schedule

SECRET, TRANSCRIPT = b"s" * 32, b"t" * 32
RELAYS = ("a", "b", "c", "d")


def by_the_formula(secret, transcript, relays, n, number):
    """HKDF of RFC 5869 and HMAC written out; a shuffle of positions that swaps from the end."""
    extracted = hmac.digest(transcript, secret, "sha256")
    key = hmac.digest(extracted, b"fedpriv relays schedule v1" + b"\x01", "sha256")
    index = number.to_bytes(4, "big")
    image = hmac.new(key, b"id" + index, hashlib.sha256).digest()[:16]
    stream = b"".join(
        hmac.digest(key, b"relays" + index + block.to_bytes(4, "big"), "sha256") for block in range(64)
    )
    order, place = list(range(len(relays))), 0
    for taken in range(n):
        left = len(relays) - taken
        while stream[place] >= 256 // left * left:
            place += 1
        pick = stream[place] % left
        place += 1
        order[pick], order[left - 1] = order[left - 1], order[pick]
    return image, tuple(relays[each] for each in reversed(order[len(relays) - n :]))


@pytest.mark.parametrize(("size", "n"), [(2, 2), (4, 3), (4, 4), (7, 1), (255, 255), (171, 40)])
def test_ids_and_relays_are_those_of_the_formula(size, n):
    relays = tuple(f"relay-{each}" for each in range(size))
    schedule = Schedule(SECRET, TRANSCRIPT, relays, n)
    for number in (0, 1, 2, 255, 256, 2**32 - 1):
        slot = schedule.slot(number)
        assert slot.number == number
        assert (slot.image, slot.relays) == by_the_formula(SECRET, TRANSCRIPT, relays, n, number)


def test_both_ends_agree_and_may_ask_in_any_order():
    one, other = (Schedule(SECRET, TRANSCRIPT, RELAYS, 3) for _ in range(2))
    assert [one.slot(each) for each in range(50)] == [other.slot(each) for each in reversed(range(50))][::-1]


def test_relays_of_an_image_are_distinct():
    schedule = Schedule(SECRET, TRANSCRIPT, RELAYS, 4)
    assert all(sorted(schedule.slot(each).relays) == list(RELAYS) for each in range(200))


def test_every_ordered_choice_of_relays_is_equally_likely():
    schedule = Schedule(SECRET, TRANSCRIPT, RELAYS, 3)
    counts = Counter(schedule.slot(each).relays for each in range(12_000))
    assert set(counts) == set(itertools.permutations(RELAYS, 3))
    assert stats.chisquare(list(counts.values())).pvalue > 1e-4


def test_every_subset_of_relays_is_equally_likely():
    schedule = Schedule(bytes(32), TRANSCRIPT, RELAYS, 2)
    counts = Counter(frozenset(schedule.slot(each).relays) for each in range(6_000))
    assert len(counts) == 6
    assert stats.chisquare(list(counts.values())).pvalue > 1e-4


def test_no_relay_is_favoured_where_a_remainder_would_favour_some_twofold():
    relays = tuple(map(str, range(171)))  # 256 mod 171 = 85: without rejection 0 to 84 come twice as often
    schedule = Schedule(SECRET, TRANSCRIPT, relays, 1)
    counts = Counter(schedule.slot(each).relays[0] for each in range(17_100))
    assert stats.chisquare([counts[relay] for relay in relays]).pvalue > 1e-4


def test_the_next_choice_does_not_depend_on_the_last():
    schedule = Schedule(SECRET, TRANSCRIPT, RELAYS, 1)
    path = [RELAYS.index(schedule.slot(each).relays[0]) for each in range(8_001)]
    table = [[0] * 4 for _ in range(4)]
    for before, after in itertools.pairwise(path):
        table[before][after] += 1
    assert stats.chi2_contingency(table).pvalue > 1e-4


def test_ids_never_repeat_and_other_secrets_or_sessions_have_others():
    schedules = [Schedule(s, t, RELAYS, 3) for s in (SECRET, bytes(32)) for t in (TRANSCRIPT, bytes(32))]
    ids = [schedule.slot(each).image for schedule in schedules for each in range(1000)]
    assert len(set(ids)) == 4000
    paths = [[schedule.slot(each).relays for each in range(100)] for schedule in schedules]
    assert all(one != other for one, other in itertools.combinations(paths, 2))


def test_the_bits_of_ids_are_balanced():
    schedule = Schedule(SECRET, TRANSCRIPT, RELAYS, 3)
    ones = sum(int.from_bytes(schedule.slot(each).image, "big").bit_count() for each in range(1000))
    assert abs(ones - 64_000) < 5 * (128_000 / 4) ** 0.5


@pytest.mark.parametrize(
    ("relays", "n"),
    [(("a", "a"), 2), (("a", "b"), 3), (("a",), 0), ((), 1), (tuple(map(str, range(256))), 2)],
)
def test_impossible_relays_are_refused(relays, n):
    with pytest.raises(ValueError, match="distinct"):
        Schedule(SECRET, TRANSCRIPT, relays, n)


@pytest.mark.parametrize("number", [-1, 2**32])
def test_numbers_outside_32_bits_have_no_place(number):
    with pytest.raises(OverflowError):
        Schedule(SECRET, TRANSCRIPT, RELAYS, 3).slot(number)
