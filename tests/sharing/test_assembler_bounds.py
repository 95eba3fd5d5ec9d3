"""The model server's core: its window and its bounds."""

import gc
import tracemalloc

import numpy as np
import pytest

from fedpriv.sharing.assembler import Assembler
from fedpriv.sharing.causes import Cause, SharingError
from fedpriv.sharing.opening import Credentials
from fedpriv.sharing.outcomes import Complete, Refused, Waiting
from fedpriv.sharing.room import Limits
from tests.sharing.parties import (
    NOW,
    forge,
    key,
    open_session,
    picture,
    refused,
    send,
    started,
)


def test_the_window_accepts_from_its_lower_edge_to_its_upper():
    for number, accepted in ((0, True), (7, True), (8, False), (100, False)):
        _, server, assembler = started(window=8)
        outcome = assembler.accept(*forge(server, number)[0], NOW)
        assert outcome == (
            Waiting(key(server, number), copy=False) if accepted else Refused(Cause.UNEXPECTED_ID)
        )


def test_the_window_follows_authentic_shares_and_what_it_passed_is_used_up():
    _, server, assembler = started(window=8)
    relay, envelope = forge(server, 7)[0]
    refused(assembler, relay, envelope[:-1] + bytes([envelope[-1] ^ 1]))
    assert refused(assembler, *forge(server, 11)[0]) is Cause.UNEXPECTED_ID  # it did not follow a forgery
    send(assembler, forge(server, 7)[:1])  # low is 4 now
    assert refused(assembler, *forge(server, 3)[0]) is Cause.ALREADY_USED
    assert refused(assembler, *forge(server, 12)[0]) is Cause.UNEXPECTED_ID
    for number in (4, 11):
        assert isinstance(assembler.accept(*forge(server, number)[0], NOW), Waiting)


def test_a_set_that_is_open_is_finished_behind_the_window():
    _, server, assembler = started(window=8)
    shares = forge(server, 0)
    send(assembler, shares[:2])
    for number in (7, 11, 15):
        send(assembler, forge(server, number)[:1])
    assert np.array_equal(send(assembler, shares[2:])[0].payload.image, picture(0))


def test_a_dropped_image_does_not_hold_up_the_others():
    client, server, assembler = started(window=8)
    for number in range(100):
        sealed = client.seal(picture(number), ("gaze",), NOW)
        if number % 3 == 1:
            send(assembler, sealed.shares[1:])  # one relay drops its share
        elif number % 3 == 2:
            continue  # all of it is lost
        else:
            send(assembler, sealed.shares)
            client.open_answer(number, assembler.answered(key(server, number), b"", NOW))
        assembler.expire(NOW + 5_000)
    assert assembler.counters["answered"] == 34


def test_no_more_sets_are_open_than_the_window_is_wide():
    _, server, assembler = started(window=4)
    for number in range(4):
        send(assembler, forge(server, number)[:1])
    assert refused(assembler, *forge(server, 4)[0]) is Cause.BUSY
    send(assembler, forge(server, 0)[1:])
    assembler.answered(key(server, 0), b"", NOW)
    assert isinstance(assembler.accept(*forge(server, 4)[0], NOW), Waiting)


@pytest.mark.parametrize("limits", [Limits(max_partial_bytes=5 * 32), Limits(max_client_bytes=5 * 32)])
def test_bytes_of_incomplete_sets_are_bounded_and_a_share_that_completes_needs_no_room(limits):
    _, server, assembler = started(limits=limits)
    for number in range(2):
        send(assembler, forge(server, number)[:2])
    send(assembler, forge(server, 2)[:1])
    assert refused(assembler, *forge(server, 2)[1]) is Cause.BUSY
    assert refused(assembler, *forge(server, 3)[0]) is Cause.BUSY
    assert isinstance(send(assembler, forge(server, 0)[2:])[0], Complete)
    assert isinstance(assembler.accept(*forge(server, 2)[1], NOW), Waiting)  # the same bytes, later


def test_one_client_at_its_bound_does_not_shut_out_another():
    _, greedy, assembler = started(limits=Limits(max_client_bytes=64))
    _, other = open_session()
    assembler.add(other, NOW)
    send(assembler, forge(greedy, 0)[:2])
    assert refused(assembler, *forge(greedy, 1)[0]) is Cause.BUSY
    assert isinstance(send(assembler, forge(other, 0)[:2])[-1], Waiting)


def test_a_flood_of_half_finished_sets_stays_within_the_bounds():
    limits = Limits(max_partial_bytes=100 * 32, max_client_bytes=40 * 32, max_sessions=10)
    assembler = Assembler(limits)
    for _ in range(10):
        _, server = open_session(window=64)
        assembler.add(server, NOW)
        for number in range(64):
            send(assembler, forge(server, number)[:2])
        assert assembler.gauges["partial_bytes"] <= 100 * 32
        assert assembler.gauges["open_sets"] <= 100
    assert assembler.gauges["partial_bytes"] == 100 * 32
    assembler.expire(NOW + 5_000)
    assert assembler.gauges["partial_bytes"] == 0


def test_kept_answers_are_bounded_and_beyond_the_bound_a_retry_gets_none():
    client, server, assembler = started(limits=Limits(max_answers=2))
    for number in range(3):
        send(assembler, forge(server, number))
        sealed = assembler.answered(key(server, number), b"seen", NOW)
        assert client.open_answer(number, sealed) == b"seen"
    assert assembler.gauges["kept_answers"] == 2
    kept = [assembler.accept(*forge(server, number)[0], NOW).answer for number in range(3)]
    assert [answer is None for answer in kept] == [False, False, True]


def test_closed_ids_that_are_forgotten_are_never_accepted_again():
    _, server, assembler = started(window=4, limits=Limits(max_closed=3))
    everything = []
    for number in range(30):
        everything.append(forge(server, number))
        send(assembler, everything[-1])
        assembler.answered(key(server, number), b"", NOW)
    causes = [refused(assembler, *shares[0]) for shares in everything]
    assert causes[:20] == [Cause.UNEXPECTED_ID] * 20
    assert causes[-3:] == [Cause.ALREADY_USED] * 3
    assert set(causes) == {Cause.UNEXPECTED_ID, Cause.ALREADY_USED}


def test_closed_ids_in_the_window_are_remembered_whatever_the_bound():
    _, server, assembler = started(window=8, limits=Limits(max_closed=0))
    for number in range(4):
        send(assembler, forge(server, number))
        assembler.answered(key(server, number), b"", NOW)
    assert [refused(assembler, *forge(server, number)[0]) for number in range(4)] == [Cause.ALREADY_USED] * 4
    for number in (7, 11):  # the window passes them
        assert isinstance(assembler.accept(*forge(server, number)[0], NOW), Waiting)


def test_a_session_whose_closed_ids_are_at_their_bound_takes_no_more_than_is_said():
    _, server, assembler = started(window=256)
    tracemalloc.start()
    try:
        gc.collect()
        before, _ = tracemalloc.get_traced_memory()
        for number in range(127, 40 * 127, 127):  # each passes over as many unseen as the window allows
            assert isinstance(assembler.accept(*forge(server, number)[0], NOW), Waiting)
        assembler.expire(NOW + 10_000)
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] - before < 348_000
    finally:
        tracemalloc.stop()


def test_sessions_are_bounded():
    assembler = Assembler(Limits(max_sessions=2))
    for _ in range(2):
        assembler.add(open_session()[1], NOW)
    with pytest.raises(SharingError) as busy:
        assembler.add(open_session()[1], NOW)
    assert busy.value.cause is Cause.BUSY
    assert assembler.gauges["sessions"] == 2


def test_a_client_at_its_bound_loses_its_least_recently_used_session_without_open_sets():
    credentials, stranger = Credentials.generate(), open_session()[1]
    assembler = Assembler(Limits(max_client_sessions=2))
    assembler.add(stranger, NOW)
    one, two, three, four = (open_session(credentials=credentials)[1] for _ in range(4))
    assembler.add(one, NOW)
    assembler.add(two, NOW + 1)
    send(assembler, forge(one, 0)[:1], NOW + 2)
    assembler.add(three, NOW + 3)
    assert refused(assembler, *forge(two, 0)[0], NOW + 3) is Cause.UNKNOWN_SESSION
    send(assembler, forge(three, 0)[:1], NOW + 3)
    with pytest.raises(SharingError) as busy:
        assembler.add(four, NOW + 4)
    assert busy.value.cause is Cause.BUSY
    assert isinstance(assembler.accept(*forge(stranger, 0)[0], NOW + 4), Waiting)


def test_a_session_that_is_over_or_idle_is_removed_unless_an_image_is_being_computed():
    limits = Limits(retention_ms=1_000, idle_ms=600_000)
    _, server, assembler = started(limits=limits, lifetime_ms=60_000)
    _, computing = open_session(lifetime_ms=60_000)
    assembler.add(computing, NOW)
    send(assembler, forge(computing, 0))
    assert refused(assembler, *forge(server, 0)[0], NOW + 60_000) is Cause.EXPIRED_SESSION
    assembler.expire(NOW + 60_999)
    assert assembler.gauges["sessions"] == 2
    assembler.expire(NOW + 61_000)
    assert assembler.gauges["sessions"] == 1
    assembler.answered(key(computing, 0), b"", NOW + 61_000)
    assembler.expire(NOW + 61_000)
    assert assembler.gauges["sessions"] == 0
    _, idle, assembler = started(limits=limits)
    send(assembler, forge(idle, 0), NOW + 1)
    assembler.answered(key(idle, 0), b"", NOW + 1)
    assembler.expire(NOW + 600_000)
    assert assembler.gauges["sessions"] == 1
    assembler.expire(NOW + 600_001)
    assert assembler.gauges["sessions"] == 0
