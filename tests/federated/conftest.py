import pytest

from fedpriv.federated.roster import Roster
from fedpriv.federated.strategy.session import Session
from fedpriv.he.identity import Enrolment, SigningKey
from fedpriv.he.plain import PlainCodec
from fedpriv.training.parameters import ParameterLayout

RUN_DIGEST = bytes(range(100, 132))
LAYOUT = ParameterLayout(("w",), ((4,),))
RUN_ID = "ab" * 16
NOBODY = Roster((), ())
SIGNERS = [SigningKey.generate() for _ in range(4)]
ENROLMENT = Enrolment({number: key.public for number, key in enumerate(SIGNERS)}, {})


def unplanned(examples):
    """Tell nothing of what silent clients spend: epsilon goes by what clients say."""
    raise ValueError(f"examples={examples}: no plan")


@pytest.fixture
def session():
    """Make a session over a four-parameter model and plain updates."""

    def make(roster=NOBODY, cohort=None, seed=0, min_replies=1, observers=(), codec=None, **changes):
        return Session(
            **{
                "run_id": RUN_ID,
                "run_digest": RUN_DIGEST,
                "seed": seed,
                "roster": roster,
                "enrolment": ENROLMENT,
                "layout": LAYOUT,
                "codec": codec or PlainCodec(max_clients=100),
                "cohort": cohort,
                "min_replies": min_replies,
                "holder_timeout_s": 5.0,
                "observers": observers,
                "plan_of": unplanned,
                **changes,
            }
        )

    return make
