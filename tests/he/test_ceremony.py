"""What all parties of a joint key agree on before it is made."""

import numpy as np
import pytest

from fedpriv.errors import UserError
from fedpriv.he.ring import expand
from tests.he.parties import RUN, new_run


def test_the_common_polynomial_belongs_to_run_and_parameters(party):
    parameters = party.parameters
    made = party.ceremony
    by_hand = expand(b"fedpriv-common-1" + parameters.fingerprint + RUN, made.wire.moduli, 8192)
    assert np.array_equal(made.common, by_hand)
    assert not np.array_equal(party.other(run_id=new_run()).common, made.common)


def test_every_holder_must_be_enrolled_and_the_run_named_in_full(party):
    with pytest.raises(UserError, match="key holder 3 is not enrolled"):
        party.other(holders=4)
    with pytest.raises(UserError, match="key holder 2 is enrolled too"):
        party.other(holders=2)
    for run in (b"", bytes(15), bytes(17)):
        with pytest.raises(ValueError, match="16 expected"):
            party.other(run_id=run)
