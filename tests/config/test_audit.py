"""The audit of a configuration: one carrier, directions for all, coins for the auditor alone."""

import numpy as np
import pytest

from fedpriv.config.as_json import to_json
from fedpriv.config.audit import build_canaries, build_listener, check_audit_fits, verdict_of
from fedpriv.config.compose import compose_run
from fedpriv.config.models import layout_of
from fedpriv.config.parties import build_server_plan, build_site
from fedpriv.errors import UserError
from fedpriv.federated.listening import Listener
from fedpriv.privacy.canaries import Canaries
from fedpriv.privacy.listening import Heard
from fedpriv.results import RoundResult
from tests.config.small import SMALL

AUDITED = ("privacy=dp_sgd", "audit.enabled=true", "audit.canaries=20", "audit.client=1", "seed=3")


@pytest.fixture(scope="module")
def config():
    return compose_run(*SMALL, *AUDITED)


def test_canaries_do_not_outnumber_the_parameters(config):
    check_audit_fits(config, 20)
    with pytest.raises(UserError, match=r"^audit.canaries=20: the model has 19 parameters; choose no more$"):
        check_audit_fits(config, 19)


def test_without_an_audit_there_is_nothing_of_it():
    text = to_json(compose_run(*SMALL, "privacy=dp_sgd"))
    assert build_site(text).canaries is None
    assert build_listener(text) is None
    assert verdict_of(text, None, [RoundResult(0, {})]) is None


def test_one_client_carries_and_the_server_knows_directions_only(config):
    text = to_json(config)
    site, listener = build_site(text), build_listener(text)
    carried = [site.canaries_of(client) for client in range(3)]
    assert carried == [None, site.canaries, None]
    size = layout_of(text).size
    planted = build_canaries(config, size)
    assert isinstance(planted, Canaries)
    assert (planted.included == site.canaries.included).all()
    # what the server listens along is what the client plants
    for canary in range(20):
        heard = listener._directions.along(planted.directions.update(canary, 1.0).astype(float))
        np.testing.assert_allclose(heard, np.eye(20)[canary], atol=1e-6)
    # and nothing at the server has as many booleans as there are canaries
    assert {type(value) for value in vars(listener).values()}.isdisjoint({Canaries, np.ndarray})
    assert isinstance(listener, Listener)


def test_where_nothing_was_heard_there_is_no_verdict(config):
    assert verdict_of(to_json(config), Heard(np.zeros(20)), [RoundResult(0, {})]) is None


def test_what_the_carrier_says_is_the_claim(config):
    found = verdict_of(to_json(config), Heard(np.arange(20.0), 2, 1.25), [RoundResult(0, {})])
    assert (found.claimed.epsilon, found.claimed.delta) == (1.25, config.privacy.delta)


def test_the_server_plan_has_the_ear(config, monkeypatch):
    from fedpriv.config import parties

    monkeypatch.setattr(parties.provision, "enrolment_for", lambda folder, policy: None)
    monkeypatch.setattr(parties, "key_folder_of", lambda config: None)
    plan = build_server_plan(to_json(config))
    assert plan.listener.carrier == 1
    assert plan.listener.clear
