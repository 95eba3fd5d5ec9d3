"""The audit of real training: silent about an honest mechanism, loud about one without noise or clip."""

import numpy as np
import pytest

from fedpriv.attacks.audit import audit
from fedpriv.attacks.audit_runs import MOST_CANARIES, AuditSettings
from fedpriv.errors import UserError

SMALL = {"epsilon": 2.0, "canaries": 200, "noise": "fast"}
LEVELS = ("sample", "client")


@pytest.fixture(scope="module", params=LEVELS)
def honest(request):
    return audit(AuditSettings(level=request.param, **SMALL))


def test_an_honest_run_is_not_refuted_and_claims_what_was_asked(honest):
    assert honest.claimed.epsilon == pytest.approx(2.0, rel=0.01)
    assert max(honest.lower_bound, honest.curve_bound) < honest.claimed.epsilon
    assert not honest.refuted
    assert honest.most > honest.claimed.epsilon  # so that silence says something


def test_scores_of_an_honest_run_tell_the_coins_better_than_chance(honest):
    inside, outside = honest.scores[honest.included], honest.scores[~honest.included]
    # Mann and Whitney: 0.5 by chance, at 200 canaries 0.5 +- 0.04
    assert np.mean(inside[:, None] > outside[None, :]) > 0.58


@pytest.mark.parametrize("fault", ["noise_off", "clip_off"])
@pytest.mark.parametrize("level", LEVELS)
def test_a_planted_fault_is_refuted(level, fault):
    found = audit(AuditSettings(level=level, **SMALL, **{fault: True}))
    assert found.refuted
    assert found.lower_bound > found.claimed.epsilon
    assert found.curve_bound > found.claimed.epsilon


def test_with_seeded_noise_an_audit_is_repeatable(honest):
    again = audit(honest.settings)
    np.testing.assert_array_equal(again.scores, honest.scores)
    assert again.curve_bound == honest.curve_bound


def test_image_canaries_see_the_final_model_only_and_prove_less():
    found = audit(AuditSettings(**SMALL, kind="image"))
    assert len(found.scores) == 200
    assert np.ptp(found.scores) > 0
    assert not found.refuted


@pytest.mark.parametrize("level", [pytest.param("sample", marks=pytest.mark.slow), "client"])
def test_at_epsilon_8_missing_noise_needs_the_default_number_of_canaries(level):
    found = audit(AuditSettings(level=level, noise="fast", noise_off=True))
    assert found.curve_bound > found.claimed.epsilon > found.lower_bound


@pytest.mark.slow
@pytest.mark.parametrize(("level", "epsilon"), [("sample", 8.0), ("client", 8.0), ("client", 1.0)])
def test_twenty_honest_runs_stay_below_their_claim(level, epsilon):
    found = [
        audit(AuditSettings(level=level, epsilon=epsilon, canaries=400, noise="fast", seed=seed))
        for seed in range(20)
    ]
    assert sum(each.lower_bound > each.claimed.epsilon for each in found) == 0
    assert sum(each.curve_bound > each.claimed.epsilon for each in found) == 0
    assert np.mean([each.curve_bound for each in found]) > 0.05 * epsilon


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("level", "person"),
        ("kind", "sound"),
        ("noise", "none"),
        ("epsilon", 0.0),
        ("epsilon", float("nan")),
        ("epsilon", 100.0),
        ("delta", 0.5),
        ("delta", 0.0),
        ("canaries", 9),
        ("canaries", MOST_CANARIES + 1),
        ("seed", -1),
    ],
)
def test_settings_out_of_range_are_refused_by_name(field, value):
    with pytest.raises(UserError, match=f"^{field}="):
        AuditSettings(**{field: value})


def test_image_canaries_have_no_client_level():
    with pytest.raises(UserError, match="kind=image"):
        AuditSettings(level="client", kind="image")
