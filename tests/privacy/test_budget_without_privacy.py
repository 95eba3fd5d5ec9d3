"""A party with a budget over all runs takes no part in a run that would not count towards it."""

import json

import pytest

from fedpriv.config.as_json import to_json
from fedpriv.config.ledger import build_purse
from fedpriv.config.parties import build_keyholder, build_site
from fedpriv.config.privacy import sum_plan_of
from fedpriv.config.schema import Scheme
from fedpriv.errors import UserError
from fedpriv.federated.client_app import _with_own
from fedpriv.he.registry import build_codec
from fedpriv.run_keys import key_folder


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


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        (("secure=none",), r"^privacy\.unit=client: secure\.scheme=plain carries no discrete noise"),
        (("secure=ckks",), r"^privacy\.unit=client: secure\.scheme=ckks carries no discrete noise"),
        (("secure=bfv", 'secure.select=["*.weight"]'), r"^secure\.select=.* coordinates without noise"),
        (("secure=bfv", "secure.select_top=0.5"), r"^secure\.select_top=0\.5: .* coordinates without noise"),
    ],
)
def test_guarantee_no_party_joins_a_run_whose_updates_lack_the_noise_that_its_epsilon_is_of(
    tiny, overrides, named
):
    enrolled = tiny(*overrides)  # on terms without privacy
    enrolled.run_id = "ab" * 16
    config = tiny("privacy=client_level", "privacy.epsilon=5", *overrides)
    config.run_id = enrolled.run_id
    with key_folder(enrolled) as keys:
        config.secure.key_folder = None if keys is None else str(keys)
        with pytest.raises(UserError, match=named):
            build_site(to_json(config))
        if config.secure.scheme is not Scheme.plain:  # which has no key holder
            with pytest.raises(UserError, match=named):
                build_keyholder(to_json(config), 0)


@pytest.mark.parametrize("scheme", ["plain", "ckks"])
def test_a_codec_that_cannot_carry_a_plans_noise_is_not_made(tiny, scheme):
    plan = sum_plan_of(tiny("privacy=client_level", "secure=bfv", "privacy.epsilon=5"))
    with pytest.raises(UserError, match=f"^secure.scheme={scheme}: carries no discrete noise"):
        build_codec(scheme, 8, noise=plan)
