"""Clients in turns and correlated noise, as a configuration says them."""

import pytest

from fedpriv.config.checks import check
from fedpriv.config.compose import compose_run
from fedpriv.config.privacy import bands_of, sum_plan_of, turns_of
from fedpriv.errors import UserError
from fedpriv.privacy.matrix_mechanism import INDEPENDENT, square_root
from tests.conftest import TINY

TURNS = ("federation.clients=4", "federation.cohort=2", "federation.order=cyclic")
CLIENT = (*TURNS, "privacy=client_level", "secure=bfv", "privacy.noise_by=server")
BANDED = (*CLIENT, "privacy.correlation=banded")


@pytest.mark.parametrize(
    ("overrides", "turns", "bands"),
    [
        ((), None, 1),
        (("federation.cohort=2",), None, 1),
        (TURNS, 2, 1),
        (CLIENT, 2, 1),
        (BANDED, 2, 2),
        ((*BANDED, "federation.clients=7"), 4, 4),
        ((*BANDED, "federation.clients=8", "privacy.bands=3"), 4, 3),
    ],
)
def test_turns_are_as_few_as_there_can_be_and_bands_as_many(overrides, turns, bands):
    config = compose_run(*TINY, *overrides)
    assert (turns_of(config), bands_of(config)) == (turns, bands)
    plan = sum_plan_of(config)
    if plan is not None:
        assert plan.matrix == (INDEPENDENT if bands == 1 else square_root(bands))
        assert plan.separation == turns


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (
            ["federation.order=cyclic"],
            "federation.order=cyclic: all clients are asked in every round; set federation.cohort below "
            "federation.clients=4",
        ),
        (
            [*TURNS, "federation.clients=5", "federation.min_replies=2"],
            "federation.min_replies=2: of the 3 groups of federation.order=cyclic the smallest has 1",
        ),
        ([*CLIENT, "privacy.bands=2"], "privacy.bands=2: has no effect; add privacy.correlation=banded"),
        (["privacy.bands=2"], "privacy.bands=2: has no effect; add privacy.correlation=banded"),
        (
            [*TURNS, "privacy=dp_sgd", "privacy.correlation=banded"],
            "privacy.correlation=banded: only client-level privacy has it; add privacy=client_level",
        ),
        (
            [*BANDED, "privacy.noise_by=clients"],
            "privacy.correlation=banded: only the server knows the noise of the rounds before; add "
            "privacy.noise_by=server",
        ),
        (
            [*BANDED, "federation.order=random"],
            "privacy.correlation=banded: needs clients that take part in every so many rounds; add "
            "federation.order=cyclic",
        ),
        ([*BANDED, "privacy.bands=3"], "privacy.bands=3: choose 2 to 2, as a client takes part in one of 2"),
        ([*BANDED, "privacy.bands=1"], "privacy.bands=1: choose 2 to 2, as a client takes part in one of 2"),
        (
            [*BANDED, "privacy.epsilon=1e-4"],
            "privacy.epsilon=0.0001: noise of standard deviation",
        ),
        (
            [*BANDED, "privacy.epsilon=null", "privacy.noise_multiplier=60", "secure.bits=20"],
            "privacy.noise_multiplier=60.0: noise of standard deviation",
        ),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line_that_says_the_mend(overrides, said):
    with pytest.raises(UserError) as refused:
        check(compose_run(*TINY, *overrides))
    assert str(refused.value).startswith(said)
    assert "\n" not in str(refused.value)


def test_what_fits_is_accepted():
    check(compose_run(*TINY, *BANDED))
    check(compose_run(*TINY, *BANDED, "privacy.clipping=adaptive"))
    check(compose_run(*TINY, *TURNS))
