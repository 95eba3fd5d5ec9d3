"""Server steps against hand-made numbers; sampling; bad constants."""

import numpy as np
import pytest

from fedpriv.federated.roster import Member, Roster
from fedpriv.federated.strategy.asking import draw_cohort
from fedpriv.federated.strategy.fedadam import FedAdam
from fedpriv.federated.strategy.fedavg import FedAvg
from fedpriv.federated.strategy.fedprox import FedProx

X = np.array([1.0, -2.0], dtype=np.float32)
D = np.array([0.5, 0.25])


def test_fedavg_adds_eta_times_the_mean_update():
    assert FedAvg().server_step(X, D).tolist() == [1.5, -1.75]
    assert FedAvg(0.5).server_step(X, D).tolist() == [1.25, -1.875]


def test_fedprox_is_fedavg_on_the_server_and_tells_clients_mu():
    strategy = FedProx(proximal_mu=0.3)
    assert strategy.server_step(X, D).tolist() == [1.5, -1.75]
    assert strategy.client_settings() == {"proximal-mu": 0.3}


def test_fedadam_follows_algorithm_2_of_reddi_et_al_over_two_rounds():
    """By hand, one coordinate, d = 0.5 then 0.1, b1 0.9, b2 0.99, tau 0.1, eta 0.2, v0 = tau^2 = 0.01.

    m1 = 0.1 * 0.5 = 0.05; v1 = 0.99 * 0.01 + 0.01 * 0.25 = 0.0124; x1 = 0.2 * 0.05 / (sqrt(0.0124) + 0.1)
    m2 = 0.9 * 0.05 + 0.1 * 0.1 = 0.055; v2 = 0.99 * 0.0124 + 0.01 * 0.01 = 0.012376
    x2 = x1 + 0.2 * 0.055 / (sqrt(0.012376) + 0.1)
    """
    strategy = FedAdam(server_learning_rate=0.2, beta1=0.9, beta2=0.99, tau=0.1)
    x1 = strategy.server_step(np.zeros(1, np.float32), np.array([0.5]))
    x2 = strategy.server_step(x1.astype(np.float32), np.array([0.1]))
    assert x1[0] == pytest.approx(0.0473137, abs=1e-6)
    assert x2[0] == pytest.approx(0.0473137 + 0.0520716, abs=1e-6)


@pytest.mark.parametrize(
    ("build", "field"),
    [
        (lambda: FedAvg(0.0), "server_learning_rate"),
        (lambda: FedProx(-1.0), "proximal_mu"),
        (lambda: FedAdam(tau=0.0), "tau"),
        (lambda: FedAdam(beta2=1.0), "beta2"),
    ],
)
def test_constants_out_of_range_are_refused_by_name(build, field):
    with pytest.raises(ValueError, match=field):
        build()


def _ten(session, cohort, seed=0):
    members = tuple(Member(index, 100 + index, 5) for index in range(10))
    return session(roster=Roster(members, ()), cohort=cohort, seed=seed)


def test_cohorts_are_drawn_by_seed_and_round_alone(session):
    def draw(seed, number):
        return [m.partition for m in draw_cohort(_ten(session, 4, seed), number)]

    assert draw(0, 1) == draw(0, 1)
    assert draw(0, 1) == sorted(set(draw(0, 1)))
    assert len({tuple(draw(0, number)) for number in range(20)}) > 10
    assert draw(0, 3) != draw(1, 3)


def test_every_client_is_drawn_equally_often(session):
    """4 of 10 over 2000 rounds: 800 +- 22 (binomial sd); five sd either way."""
    ten = _ten(session, 4)
    counts = np.bincount(
        [m.partition for number in range(2000) for m in draw_cohort(ten, number)], minlength=10
    )
    assert abs(counts - 800).max() < 110


def test_no_cohort_asks_everybody(session):
    assert len(draw_cohort(_ten(session, None), 1)) == 10


def test_weights_are_examples_over_the_largest_clients():
    roster = Roster((Member(0, 1, 5), Member(1, 2, 20)), ())
    assert [roster.weight(member) for member in roster.clients] == [0.25, 1.0]


def test_fedadam_goes_on_from_its_state_bit_by_bit(session):
    """Two rounds at a stretch, or one in a strategy and the next in another that was given its state."""
    first = FedAdam()
    first.bind(session())
    x, d = np.ones(4, np.float32), np.array([0.1, -0.2, 0.3, 1e-9])
    assert first.state() == {}
    x = first.server_step(x, d).astype(np.float32)
    second = FedAdam()
    second.bind(session())
    second.restore({name: array.copy() for name, array in first.state().items()})
    assert second.server_step(x, -d).tobytes() == first.server_step(x, -d).tobytes()
    fresh = FedAdam().server_step(x, -d)
    assert fresh.tobytes() != second.server_step(x, -d).tobytes()


@pytest.mark.parametrize(
    "state",
    [
        {"m": np.zeros(4)},
        {"m": np.zeros(4), "w": np.zeros(4)},
        {"m": np.zeros(4), "v": np.zeros(3)},
        {"m": np.zeros(1), "v": np.zeros(1)},
        {"m": np.zeros(4), "v": np.zeros(4, np.float32)},
    ],
)
def test_a_state_that_is_not_fedadams_is_refused(session, state):
    strategy = FedAdam()
    strategy.bind(session())
    with pytest.raises(ValueError, match="FedAdam keeps"):
        strategy.restore(state)


def test_fedavg_keeps_nothing_and_takes_nothing():
    assert FedAvg().state() == {}
    FedAvg().restore({})
    with pytest.raises(ValueError, match="FedAvg keeps no m, v"):
        FedAvg().restore({"v": np.zeros(1), "m": np.zeros(1)})
