"""The server's ear: it hears the carrier, in the clear or in means, and nothing where the carrier is not."""

import numpy as np
import pytest

from fedpriv.errors import UserError
from fedpriv.federated import messages
from fedpriv.federated.listening import Listener
from fedpriv.federated.roster import Roster
from fedpriv.federated.strategy.asking import draw_cohort
from fedpriv.federated.strategy.fedavg import FedAvg
from fedpriv.privacy.canaries import CanaryClients
from fedpriv.privacy.listening import Heard

from .test_rounds import MEMBERS, FakeGrid, honest

DIRECTIONS = CanaryClients(4, 4, 0)  # a coordinate each


def listener(clear, carrier=1):
    return Listener(carrier, DIRECTIONS, clear)


def rounds(session, ear, behave, count=3, **changes):
    strategy = FedAvg()
    strategy.bind(session(roster=Roster(MEMBERS, ()), listener=ear, **changes))
    strategy.start(FakeGrid(behave), messages.pack_parameters(np.zeros(4, np.float32)), num_rounds=count)
    return strategy


def updates(partition):
    return np.arange(4.0) * (partition + 1)


def answering(partition, message):
    return honest(message, updates(partition))


def expected(vector, times):
    heard = Heard(np.zeros(4))
    for _ in range(times):
        heard = heard.hear(DIRECTIONS.along(vector))
    return heard.sums


def test_in_the_clear_the_carriers_own_updates_are_heard(session):
    ear = listener(clear=True)
    rounds(session, ear, answering)
    assert ear.heard.rounds == 3
    np.testing.assert_allclose(ear.heard.sums, expected(updates(1), 3), rtol=1e-6)


def test_under_encryption_only_the_means_are_heard(session):
    ear = listener(clear=False)
    rounds(session, ear, answering)
    sizes = np.array([member.examples for member in MEMBERS], float)
    mean = sum(updates(index) * size for index, size in enumerate(sizes)) / sizes.sum()
    assert ear.heard.rounds == 3
    np.testing.assert_allclose(ear.heard.sums, expected(mean, 3), rtol=1e-6)


@pytest.mark.parametrize("clear", [True, False])
def test_rounds_without_the_carrier_are_not_heard(session, clear):
    def silent(partition, message):
        return None if partition == 1 else answering(partition, message)

    ear = listener(clear)
    rounds(session, ear, silent)
    assert ear.heard.rounds == 0
    assert not ear.heard.sums.any()


def test_a_round_that_is_not_opened_is_heard_in_the_clear_only(session):
    for clear, count in ((True, 3), (False, 0)):
        ear = listener(clear)
        rounds(session, ear, answering, min_replies=5)
        assert ear.heard.rounds == count


def test_cohorts_are_heard_when_the_carrier_is_in_them(session):
    for clear in (True, False):
        ear = listener(clear)
        strategy = rounds(session, ear, answering, count=12, cohort=2)
        asked = sum(MEMBERS[1] in draw_cohort(strategy.session, number) for number in range(1, 13))
        assert ear.heard.rounds == asked
        assert 0 < asked < 12


def test_it_goes_on_from_what_was_heard_and_not_from_other_canaries():
    ear = listener(clear=False)
    before = Heard(np.arange(4.0), 7, 1.5)
    ear.go_on(before)
    assert ear.heard == before
    with pytest.raises(UserError, match="checkpoint: heard other canaries"):
        ear.go_on(Heard(np.zeros(5)))
