"""A party with a budget over all runs takes no part in a run that would not count towards it."""

import json

import pytest

from fedpriv.config.as_json import to_json
from fedpriv.config.ledger import build_purse
from fedpriv.config.parties import build_site
from fedpriv.errors import UserError
from fedpriv.federated.client_app import _with_own


def test_guarantee_a_server_that_says_no_privacy_does_not_pass_a_sites_own_budget(tiny):
    text = to_json(tiny())
    assert build_site(text).purse is None
    own = _with_own(text, {"lifetime-epsilon": 3})
    assert json.loads(own)["privacy"]["lifetime_epsilon"] == 3.0
    with pytest.raises(UserError, match=r"^privacy\.lifetime_epsilon=3\.0: .* passes it; take part in"):
        build_site(own)
    # with privacy the same site has a purse, and the budget is in it
    private = _with_own(to_json(tiny("privacy=dp_sgd")), {"lifetime-epsilon": 3})
    assert build_site(private).purse.lifetime_epsilon == 3.0


def test_without_a_budget_a_run_without_privacy_charges_nothing(tiny):
    assert build_purse(tiny(), "eyes") is None
