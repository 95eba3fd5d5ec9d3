import numpy as np
import pytest

from fedpriv.federated.roster import Roster
from fedpriv.federated.strategy.session import Session
from fedpriv.he.plain import PlainCodec
from fedpriv.training.parameters import ParameterLayout

LAYOUT = ParameterLayout(("w",), ((4,),))
RUN_ID = "ab" * 16
NOBODY = Roster((), ())


@pytest.fixture
def session():
    """Make a session over a four-parameter model and plain updates."""

    def make(roster=NOBODY, cohort=None, seed=0, min_replies=1, observers=(), codec=None):
        codec = codec or PlainCodec(max_clients=100)
        decoder = codec.decoder(min_clients=1)

        def open_sum(grid, server_round, payload, count):
            return np.asarray(decoder.decode_sum(payload, count, LAYOUT.size))

        return Session(
            run_id=RUN_ID,
            seed=seed,
            roster=roster,
            layout=LAYOUT,
            codec=codec,
            open_sum=open_sum,
            cohort=cohort,
            min_replies=min_replies,
            max_update_bytes=10_000,
            observers=observers,
        )

    return make
