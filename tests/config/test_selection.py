"""What selective encryption refuses before anything starts."""

import pytest

from fedpriv.config.checks import check
from fedpriv.config.compose import compose_run
from fedpriv.errors import UserError

SMALL = (
    "task=gaze",
    "data.people=4",
    "data.images_per_person=4",
    "evaluation.test_subjects=1",
    "federation.clients=3",
    "federation.rounds=1",
    "tracking=none",
)
DP = ("privacy=dp_sgd", "privacy.epsilon=3", "training.batch_size=2")


@pytest.mark.parametrize(
    ("overrides", "text"),
    [
        (
            ["secure=bfv", "secure.select=[head.*]"],
            "secure.select=head.*: matches no layer; there are convolutions.0",
        ),
        (["secure=bfv", "secure.select=[]"], "secure.select=[]: selects nothing"),
        (
            ["+secure.select=[convolutions.*]"],
            "has no effect, secure=none encrypts nothing; choose secure=bfv",
        ),
        (["+secure.select_top=0.3"], "secure.select_top=0.3: has no effect, secure=none encrypts nothing"),
        (["secure=bfv", "secure.select_top=0"], "secure.select_top=0.0: must lie between 0 and 1"),
        (["secure=bfv", "secure.select_top=1"], "secure.select_top=1.0: must lie between 0 and 1"),
        (["secure=bfv", "secure.select_top=nan"], "secure.select_top=nan: needs a finite number"),
        (
            ["secure=bfv", "secure.select_top=0.3", "secure.select=[convolutions.*]"],
            "secure.select_top=0.3: cannot be combined with secure.select; set one to null",
        ),
        (
            ["secure=bfv", "secure.select_top=0.3", *DP],
            "secure.select_top=0.3: sensitivity maps come from the images without noise, which "
            "privacy.unit=sample does not cover; use secure.select=[...]",
        ),
    ],
)
def test_impossible_selections_are_refused_in_one_line(overrides, text):
    with pytest.raises(UserError) as refusal:
        check(compose_run(*SMALL, *overrides))
    assert text in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("scheme", ["bfv", "bfv_committee", "ckks"])
@pytest.mark.parametrize("selection", ["secure.select=[convolutions.*]", "secure.select_top=0.3"])
def test_every_scheme_takes_both_ways_of_selecting(scheme, selection):
    check(compose_run(*SMALL, f"secure={scheme}", selection))


def test_layers_may_be_selected_under_differential_privacy():
    check(compose_run(*SMALL, "secure=bfv", "secure.select=[convolutions.*]", *DP))


def test_it_is_off_by_default():
    for scheme in ("none", "bfv", "bfv_committee", "ckks"):
        secure = compose_run(*SMALL, f"secure={scheme}").secure
        assert (secure.select, secure.select_top) == (None, None)
