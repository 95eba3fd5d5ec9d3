"""What is weaker than agreed, what is not, and what is no policy."""

from dataclasses import replace

import pytest

from fedpriv.errors import UserError
from fedpriv.he.policy import Policy

AGREED = Policy(
    scheme="bfv",
    keys="committee",
    holders=3,
    min_clients=4,
    smudging_bits=40,
    clear=False,
    unit="client",
    noise="secure",
    noise_by="clients",
    epsilon=8.0,
    delta=1e-5,
)
WEAKER = {
    "scheme": ("plain", "secure.scheme = bfv", "plain"),
    "keys": ("authority", "secure.keys = committee", "authority"),
    "holders": (2, "secure.holders = 3", "2"),
    "min_clients": (3, "secure.min_clients >= 4", "3"),
    "smudging_bits": (39, "secure.smudging_bits >= 40", "39"),
    "clear": (True, "secure.select = null and secure.select_top = null", "otherwise for one of them"),
    "unit": ("sample", "privacy.unit = client", "sample"),
    "noise": ("fast", "privacy.noise = secure", "fast"),
    "noise_by": ("server", "privacy.noise_by = clients", "server"),
    "epsilon": (8.5, "privacy.epsilon <= 8", "8.5"),
    "delta": (2e-5, "privacy.delta <= 1e-05", "2e-05"),
}
STRONGER = {
    "equal": (AGREED, AGREED),
    "more clients": (AGREED, replace(AGREED, min_clients=5)),
    "more smudging": (AGREED, replace(AGREED, smudging_bits=41)),
    "less spent": (AGREED, replace(AGREED, epsilon=1.0, delta=1e-9)),
    "all encrypted": (replace(AGREED, clear=True), AGREED),
    "secure noise": (replace(AGREED, noise="fast"), AGREED),
    "noise by the clients": (replace(AGREED, noise_by="server"), AGREED),
    "private though nobody demands it": (
        replace(AGREED, unit="none", epsilon=None, delta=None),
        replace(AGREED, noise="fast", noise_by="server"),
    ),
    "no bound": (replace(AGREED, epsilon=None, delta=None), replace(AGREED, epsilon=1e6, delta=0.5)),
    "noise_by without sums": (
        replace(AGREED, unit="sample"),
        replace(AGREED, unit="sample", noise_by="server"),
    ),
}
BAD = {
    "scheme": ("", "rot13", None, 7, ["bfv"]),
    "keys": ("", "nobody", None),
    "holders": (-1, 2**32, True, 3.0, "3", None, 10**400),
    "min_clients": (-1, 2**32, True, 2.0, "2", None),
    "smudging_bits": (-1, 2**32, False, 40.0, "40", None),
    "clear": (0, 1, "false", None),
    "unit": ("", "person", None, True),
    "noise": ("", "weak", None),
    "noise_by": ("", "nobody", None),
    "epsilon": (0, -1.0, float("nan"), float("inf"), 10**400, True, "8", [8]),
    "delta": (0, 1.0, 1, -1e-5, float("nan"), True, "1e-5"),
}


@pytest.mark.parametrize("field", WEAKER)
def test_whatever_is_weaker_is_refused_by_name_with_both_values(field):
    value, demanded, said = WEAKER[field]
    with pytest.raises(UserError) as refused:
        AGREED.require(replace(AGREED, **{field: value}), "here")
    assert str(refused.value) == (
        f"here: the enrolment demands {demanded}, the run's configuration says {said}; "
        "run as agreed, or enrol everybody anew on other terms"
    )


def test_every_field_can_be_too_weak():
    assert WEAKER.keys() == BAD.keys() == AGREED.to_plain().keys()


@pytest.mark.parametrize("case", STRONGER)
def test_equal_and_stronger_terms_pass(case):
    demanded, offered = STRONGER[case]
    demanded.require(offered, "here")


@pytest.mark.parametrize("unit", ["none", "sample"])
def test_no_privacy_or_another_kind_of_it_is_less_than_was_agreed(unit):
    offered = replace(AGREED, unit=unit, **({"epsilon": None, "delta": None} if unit == "none" else {}))
    with pytest.raises(UserError, match=rf"demands privacy\.unit = client, .* says {unit};"):
        AGREED.require(offered, "here")


def test_an_epsilon_that_is_not_stated_is_not_below_the_agreed_one():
    with pytest.raises(UserError, match=r"demands privacy\.epsilon <= 8, the run's configuration says null"):
        AGREED.require(replace(AGREED, epsilon=None), "here")


def test_a_policy_survives_being_plain():
    assert Policy.from_plain(AGREED.to_plain()) == AGREED


@pytest.mark.parametrize(("field", "value"), [(field, value) for field in BAD for value in BAD[field]])
def test_what_is_no_policy_is_refused_in_one_line(field, value):
    with pytest.raises(UserError, match=rf"policy\.{field}=") as refused:
        Policy.from_plain({**AGREED.to_plain(), field: value})
    assert len(str(refused.value)) < 150


@pytest.mark.parametrize("value", [None, [], "bfv", {}, {"scheme": "bfv"}])
def test_what_has_not_the_fields_of_a_policy_is_refused(value):
    with pytest.raises(UserError, match="policy: need scheme, keys, holders"):
        Policy.from_plain(value)


def test_a_field_too_much_is_refused():
    with pytest.raises(UserError, match="nothing else"):
        Policy.from_plain({**AGREED.to_plain(), "rounds": 3})


def test_epsilon_needs_delta_and_both_need_a_unit():
    with pytest.raises(UserError, match=r"policy\.epsilon=8\.0: means nothing without policy\.delta"):
        replace(AGREED, delta=None)
    with pytest.raises(UserError, match=r"policy\.unit=none: has no epsilon"):
        replace(AGREED, unit="none")


def test_a_number_has_one_form():
    assert replace(AGREED, epsilon=8).canonical == AGREED.canonical
    assert b'"epsilon":8.0' in AGREED.canonical
