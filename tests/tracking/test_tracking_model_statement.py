"""A statement of privacy is what it says, or is refused in one line: anybody may have written it."""

import math
from types import SimpleNamespace

import pytest

from experiments.evaluate.table import privacy_text
from fedpriv.config.schema import NoiseBy, NoiseSource, PrivacyUnit
from fedpriv.errors import UserError
from fedpriv.tracking import model_statement
from fedpriv.tracking.model_statement import checked_statement, in_words, require_epsilon_of

PRIVATE = {
    "unit": "sample",
    "epsilon": 2.5,
    "delta": 1e-5,
    "accountant": "prv",
    "data": "eyes",
    "noise": "secure",
}
OPEN = {**dict.fromkeys(PRIVATE), "unit": "none", "data": "eyes"}


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"epsilon": 0},
        {"epsilon": math.inf},
        {"delta": 0},
        {"delta": 0.999},
        {"unit": "client", "noise_by": "server"},
    ],
)
def test_what_fedpriv_states_passes_as_it_is(more):
    assert checked_statement("r", PRIVATE | more) == PRIVATE | more
    assert checked_statement("r", OPEN) == OPEN


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epsilon", math.nan),
        ("epsilon", -1),
        ("epsilon", -math.inf),
        ("epsilon", "2.5"),
        ("epsilon", True),
        ("epsilon", None),
        ("delta", 1.5),
        ("delta", 1.0),
        ("delta", 1),
        ("delta", math.nan),
        ("delta", -1e-9),
        ("delta", False),
        ("delta", [1]),
        ("delta", None),
        ("unit", "person"),
        ("unit", ["none"]),
        ("unit", None),
        ("noise", "fast "),
        ("noise_by", "nobody"),
        ("data", "faces\x1b[2K"),
        ("data", "faces\nNOT"),
        ("data", 7),
        ("relation", "a" * 201),
        ("more", "text"),
    ],
)
def test_what_is_none_is_refused_in_one_line_that_names_it(name, value):
    with pytest.raises(UserError, match=rf"^run_id=r: its model states {name} = .*, which is no") as caught:
        checked_statement("r", PRIVATE | {name: value})
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("more", [{"unit": "none"}, {"unit": "none", "epsilon": None}])
def test_without_a_unit_there_is_neither_epsilon_nor_delta(more):
    with pytest.raises(UserError, match=r"its model states (epsilon|delta) = "):
        checked_statement("r", PRIVATE | more)


def test_names_are_those_of_the_settings():
    assert tuple(PrivacyUnit.__members__) == model_statement.UNITS
    for name in NoiseSource.__members__:
        checked_statement("r", PRIVATE | {"noise": name})
    for name in NoiseBy.__members__:
        checked_statement("r", PRIVATE | {"noise_by": name})


def _run(**tags):
    return SimpleNamespace(info=SimpleNamespace(run_id="r"), data=SimpleNamespace(tags=tags))


def test_an_epsilon_must_be_the_one_of_the_runs_tag_which_is_rounded_up():
    stated = checked_statement("r", PRIVATE | {"epsilon": 1.23456712})
    require_epsilon_of(_run(epsilon="1.23457"), stated)
    require_epsilon_of(_run(), stated)
    require_epsilon_of(_run(epsilon="inf"), checked_statement("r", PRIVATE | {"epsilon": math.inf}))
    for other, statement in (("1.23456", stated), ("8", stated), ("8", checked_statement("r", OPEN))):
        with pytest.raises(
            UserError, match=rf"^run_id=r: its model states epsilon = .*, its tag says '{other}'"
        ):
            require_epsilon_of(_run(epsilon=other), statement)


def test_an_infinite_epsilon_is_said_alike_by_evaluate_and_register():
    stated = checked_statement("r", PRIVATE | {"epsilon": math.inf})
    assert privacy_text(stated).startswith("NOT PRIVATE: its epsilon is infinite, so nothing is promised")
    assert in_words(_run(), stated).startswith("NOT PRIVATE: its epsilon is infinite, so nothing is promised")
