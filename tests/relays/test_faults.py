"""Relays that failed are left out, tried again by one image, and never so many that too few remain."""

import itertools

from fedpriv.relays.faults import FIRST_PAUSE_S, LONGEST_PAUSE_S, Faults


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_relay_that_failed_is_left_out_until_its_pause_is_over_and_then_tried_by_one_image():
    clock = Clock()
    faults = Faults("abcd", clock)
    faults.failed("b")
    assert set(faults.avoided(3)) == {"b"}
    clock.now += FIRST_PAUSE_S
    assert not faults.avoided(3)
    faults.chosen("abc")
    assert set(faults.avoided(3)) == {"b"}  # while that image is on its way
    clock.now += FIRST_PAUSE_S
    assert set(faults.avoided(3)) == {"b"}  # twice as long
    clock.now += FIRST_PAUSE_S
    faults.chosen("acd")
    assert not faults.avoided(3)  # that image did not try it
    faults.worked("b")
    faults.failed("b")
    clock.now += FIRST_PAUSE_S
    assert not faults.avoided(3)  # from the start again


def test_a_relay_that_is_down_for_long_is_tried_once_a_minute():
    clock = Clock()
    faults = Faults("abcd", clock)
    faults.failed("b")
    tries = []
    for _ in range(1000):
        clock.now += 1.0
        if not faults.avoided(3):
            faults.chosen("b")
            faults.failed("b")
            tries.append(clock.now)
    gaps = [late - early for early, late in itertools.pairwise(tries)]
    assert gaps[:6] == [2, 4, 8, 16, 32, 60]
    assert set(gaps[6:]) == {LONGEST_PAUSE_S}


def test_nobody_is_left_out_when_too_few_would_remain():
    faults = Faults("abcd", Clock())
    faults.failed("b")
    faults.failed("c")
    assert not faults.avoided(3)
    assert not faults.enough(3)
    assert set(faults.avoided(2)) == {"b", "c"}
    assert faults.last("abcd") == ["a", "d", "b", "c"]
