"""The model server's core: images through it, copies, answers, lost shares."""

import itertools

import numpy as np
import pytest

from fedpriv.sharing.causes import Cause
from fedpriv.sharing.outcomes import Complete, Dropped, ImageKey, Refused, Waiting
from fedpriv.sharing.room import Limits
from fedpriv.sharing.scheme import Scheme
from tests.sharing.parties import (
    ADDITIVE,
    NOW,
    SHAMIR,
    forge,
    key,
    picture,
    send,
    started,
)


@pytest.mark.parametrize("scheme", [ADDITIVE, SHAMIR, Scheme("shamir", 4, 4), Scheme("additive", 2, 2)])
def test_an_image_goes_through_and_its_answer_comes_back(scheme):
    client, server, assembler = started(scheme)
    for number in range(20):
        sealed = client.seal(picture(number), ("emotion",), NOW)
        outcomes = send(assembler, sealed.shares)
        for which, outcome in enumerate(outcomes):
            if which == scheme.t - 1:
                assert isinstance(outcome, Complete)
                assert outcome.image == key(server, number)
                assert np.array_equal(outcome.payload.image, picture(number))
                assert outcome.payload.wanted == (1,)
            else:
                assert outcome == Waiting(key(server, number), copy=False)
        answer = assembler.answered(key(server, number), b"seen", NOW)
        assert client.open_answer(number, answer) == b"seen"
    assert assembler.counters == {"accepted": 20 * scheme.n, "complete": 20, "answered": 20}
    assert assembler.gauges["open_sets"] == assembler.gauges["partial_bytes"] == 0


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("scheme", [ADDITIVE, SHAMIR])
def test_shares_may_come_in_any_order(scheme, order):
    _, server, assembler = started(scheme)
    shares = forge(server, 0)
    outcomes = send(assembler, [shares[which] for which in order])
    assert [isinstance(each, Complete) for each in outcomes] == [which == scheme.t - 1 for which in range(3)]
    assert np.array_equal(outcomes[scheme.t - 1].payload.image, picture(0))


@pytest.mark.parametrize("lost", range(3))
def test_with_shamir_a_relay_may_fail(lost):
    _, server, assembler = started(SHAMIR)
    shares = forge(server, 0)
    outcome = send(assembler, shares[:lost] + shares[lost + 1 :])[-1]
    assert np.array_equal(outcome.payload.image, picture(0))


def test_a_copy_waits_for_the_same_answer_and_enters_no_set():
    _, server, assembler = started()
    first, second, third = forge(server, 0)
    send(assembler, [first, second])
    assert send(assembler, [first, second, first]) == [Waiting(key(server, 0), copy=True)] * 3
    assert isinstance(send(assembler, [third])[0], Complete)
    assert send(assembler, [third]) == [Waiting(key(server, 0), copy=True)]
    assert assembler.counters == {"accepted": 3, "copies": 4, "complete": 1}


def test_after_the_answer_a_replay_gets_the_same_sealed_answer_until_it_is_forgotten():
    _, server, assembler = started(limits=Limits(retention_ms=1_000))
    shares = forge(server, 0)
    send(assembler, shares)
    sealed = assembler.answered(key(server, 0), b"seen", NOW)
    assert send(assembler, shares, NOW + 999) == [Refused(Cause.ALREADY_USED, sealed)] * 3
    assert send(assembler, shares, NOW + 1_000) == [Refused(Cause.ALREADY_USED)] * 3
    assert assembler.gauges["kept_answers"] == 0


def test_a_late_shamir_share_waits_with_the_others_and_then_gets_the_answer():
    _, server, assembler = started(SHAMIR)
    shares = forge(server, 0)
    send(assembler, shares[:2])
    assert send(assembler, shares[2:]) == [Waiting(key(server, 0), copy=False)]
    sealed = assembler.answered(key(server, 0), b"seen", NOW)
    assert send(assembler, shares[2:]) == [Refused(Cause.ALREADY_USED, sealed)]


def test_an_answer_is_given_once():
    _, server, assembler = started()
    for image in (key(server, 0), ImageKey(bytes(16), 0)):
        with pytest.raises(KeyError):
            assembler.answered(image, b"", NOW)
    send(assembler, forge(server, 0)[:2])
    with pytest.raises(KeyError):
        assembler.answered(key(server, 0), b"", NOW)
    send(assembler, forge(server, 0))
    assembler.answered(key(server, 0), b"", NOW)
    for again in (
        lambda: assembler.answered(key(server, 0), b"", NOW),
        lambda: assembler.failed(key(server, 0)),
    ):
        with pytest.raises(KeyError):
            again()


def test_an_answer_that_is_too_long_leaves_the_image_waiting():
    _, server, assembler = started()
    send(assembler, forge(server, 0))
    with pytest.raises(ValueError, match="at most"):
        assembler.answered(key(server, 0), bytes(1000), NOW)
    assembler.answered(key(server, 0), b"", NOW)


def test_a_failed_image_is_closed_for_good():
    _, server, assembler = started()
    shares = forge(server, 0)
    send(assembler, shares)
    assembler.failed(key(server, 0))
    assert send(assembler, shares) == [Refused(Cause.ALREADY_USED)] * 3
    assert assembler.counters["failed"] == 1


def test_an_incomplete_set_is_dropped_and_its_number_burnt():
    _, server, assembler = started(limits=Limits(set_timeout_ms=1_000))
    shares = forge(server, 0)
    send(assembler, shares[:2])
    assert assembler.expire(NOW + 999) == []
    assert assembler.gauges["partial_bytes"] == 2 * 32
    assert assembler.expire(NOW + 1_000) == [Dropped(key(server, 0), Cause.INCOMPLETE)]
    assert assembler.expire(NOW + 1_000) == []
    assert send(assembler, shares) == [Refused(Cause.ALREADY_USED)] * 3
    assert assembler.gauges["partial_bytes"] == assembler.gauges["open_sets"] == 0


def test_a_drop_that_a_share_came_across_is_told_by_the_next_expire():
    _, server, assembler = started(limits=Limits(set_timeout_ms=1_000))
    shares = forge(server, 0)
    send(assembler, shares[:2])
    assert send(assembler, shares[2:], NOW + 1_000) == [Refused(Cause.ALREADY_USED)]
    assert assembler.expire(NOW + 1_000) == [Dropped(key(server, 0), Cause.INCOMPLETE)]


def test_a_complete_set_is_not_dropped_however_long_the_model_takes():
    _, server, assembler = started(limits=Limits(set_timeout_ms=1_000))
    send(assembler, forge(server, 0))
    assert assembler.expire(NOW + 10_000) == []
    assembler.answered(key(server, 0), b"", NOW + 10_000)
