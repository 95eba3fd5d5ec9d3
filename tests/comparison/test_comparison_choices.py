"""Choices of groups of the configuration in the place of what follows from them."""

import json

from hypothesis import given
from hypothesis import strategies as st

from fedpriv.comparison.choices import telling
from fedpriv.comparison.figures import to_json
from fedpriv.comparison.tables import results_table
from fedpriv.comparison.tables import tests_table as differences_table
from tests.comparison.made import compared, logged

SECURE = {
    "none": {"secure.scheme": "plain"},
    "bfv": {"secure.scheme": "bfv", "secure.keys": "authority"},
    "ckks": {"secure.scheme": "ckks", "secure.keys": "authority", "secure.smudging_bits": 56},
    "bfv_committee": {"secure.scheme": "bfv", "secure.keys": "committee", "secure.smudging_bits": 56},
    "bfv_selective": {"secure.scheme": "bfv", "secure.keys": "authority", "secure.select_top": 0.3},
}


def swept(seeds=(0, 1), said=lambda name: True, **more):
    return [
        logged(
            {"seed": seed, **settings, **more},
            1.0 + seed + number / 8,
            tags={
                "overrides": f"+experiment=encryption_cost seed={seed} secure={name}",
                "choice.experiment": "encryption_cost",
                **({"choice.secure": name} if said(name) else {}),
            },
        )
        for number, (name, settings) in enumerate(SECURE.items())
        for seed in seeds
    ]


def test_a_group_that_was_swept_is_one_column_with_its_choices_in_their_order():
    found = compared(swept(), {"secure": "bfv"})
    table = results_table(found)
    assert table.heads[0] == "secure"
    assert table.heads[1] == "error (deg), lower is better"
    assert [row[0] for row in table.rows] == list(SECURE)
    assert [each.label for each in found.groups] == [f"secure={name}" for name in SECURE]
    assert {found.groups[test.reference].label for test in found.tests} == {"secure=bfv"}
    tests = differences_table(found)
    assert [row[0] for row in tests.rows] == [f"secure={name}" for name in SECURE if name != "bfv"]
    whole = json.loads(to_json(found))
    assert [each["secure"] for each in whole["groups"]] == list(SECURE)
    assert not any("not shown" in note for note in found.notes)


def test_what_does_not_follow_from_the_choice_keeps_its_column():
    runs = [run for bits in (8, 16) for run in swept(**{"quantise.bits": bits})]
    found = compared(runs)
    assert [column.short for column in found.columns] == ["secure", "bits"]
    assert len(found.groups) == 10
    assert len({each.label for each in found.groups}) == 10


def test_within_a_group_too():
    runs = swept(said=lambda name: True)
    for run in runs:
        if run.params["secure.scheme"] == "ckks":
            run.params["secure.scale"] = str(20 + int(run.params["seed"]))  # set by hand, besides the choice
    labels = [each.label for each in compared(runs).groups]
    assert "secure=ckks, scale=20" in labels
    assert "secure=ckks, scale=21" in labels


def test_runs_of_which_one_does_not_say_its_choice_are_told_apart_by_their_settings():
    found = compared(swept(said=lambda name: name != "ckks"))
    assert "secure" not in [column.short for column in found.columns]
    assert len(found.groups) == len({each.label for each in found.groups}) == 5


def test_two_names_of_the_same_settings_tell_nothing_apart():
    runs = [
        logged({"seed": 0, "secure.scheme": "bfv"}, 1.0, tags={"choice.secure": "bfv"}),
        logged({"seed": 1, "secure.scheme": "bfv"}, 2.0, tags={"choice.secure": "mine"}),
        logged({"seed": 0, "secure.scheme": "plain"}, 3.0, tags={"choice.secure": "none"}),
    ]
    found = compared(runs)
    assert [each.label for each in found.groups] == ["scheme=bfv", "scheme=plain"]
    assert found.groups[0].summary("error").n == 2


def test_a_preset_stands_for_all_that_it_sets():
    runs = [
        logged({"seed": seed, "a.x": x, "b.y": y}, 1.0, tags={"choice.experiment": name})
        for name, x, y in (("first", 1, 2), ("second", 2, 3))
        for seed in (0, 1)
    ]
    assert [each.label for each in compared(runs).groups] == ["experiment=first", "experiment=second"]


def test_two_groups_whose_choices_are_called_alike_are_told_apart():
    settings = [
        ("none", "none", {"secure.scheme": "plain", "privacy.unit": "none"}),
        ("bfv", "none", {"secure.scheme": "bfv", "privacy.unit": "none"}),
        ("none", "dp_sgd", {"secure.scheme": "plain", "privacy.unit": "sample"}),
    ]
    runs = [
        logged({"seed": 0, **params}, 1.0, tags={"choice.secure": secure, "choice.privacy": privacy})
        for secure, privacy, params in settings
    ]
    assert {each.label for each in compared(runs).groups} == {
        f"privacy={privacy}, secure={secure}" for secure, privacy, _ in settings
    }


def test_jobs_that_were_refused_are_in_the_group_of_their_choice():
    """They have logged all that they were asked for, also what has no effect."""
    asked = {"secure.holders": 1, "secure.bits": 16, "secure.keys": "authority"}
    refused = [
        logged(
            {"seed": seed, **asked, **SECURE[name]},
            status="FAILED",
            tags={"choice.secure": name, "refused": "before training began", "failure": "no"},
        )
        for name, seed in (("none", 2), ("bfv", 2), ("bfv_selective", 0))
    ]
    begun = [run for run in swept() if run.tags["choice.secure"] in ("none", "bfv")]
    for run in begun:
        run.tags.pop("choice.experiment")
    assert [(each.label, each.states_text) for each in compared([*begun, *refused]).groups] == [
        ("secure=none", "2 of 3, 1 failed: no"),
        ("secure=bfv", "2 of 3, 1 failed: no"),
        ("secure=bfv_selective", "0 of 1, 1 failed: no"),
    ]


@given(
    st.lists(st.tuples(st.sampled_from("abc"), *[st.sampled_from(["1", "2"])] * 3), min_size=1, max_size=8)
)
def test_choices_with_what_is_left_tell_as_much_apart_as_all_settings(runs):
    settings = [{"g.x": x, "g.y": y, "h.z": z} for _, x, y, z in runs]
    choices = [{"g": name} for name, *_ in runs]
    names = ["g.x", "g.y", "h.z"]
    told = telling(settings, choices, names, names, [True] * len(runs))
    follow = {name for each in told.values() for name in each}
    assert follow <= {"g.x", "g.y"}
    left = [name for name in names if name not in follow]
    short = {
        (*(choice[group] for group in told), *(each[name] for name in left))
        for each, choice in zip(settings, choices, strict=True)
    }
    assert len(short) == len({tuple(each.values()) for each in settings})
