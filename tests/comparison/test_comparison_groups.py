"""What groups are: settings that differ, but never the seed."""

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedpriv.comparison.columns import columns_of, differing
from fedpriv.comparison.groups import columns_for, group
from tests.comparison.made import ERROR, compared, grid, logged, trials

settings = st.fixed_dictionaries(
    {
        "privacy.epsilon": st.sampled_from(["1.0", "3.0", "inf", "null"]),
        "secure.scheme": st.sampled_from(["plain", "bfv"]),
        "seed": st.sampled_from(["0", "1", "2"]),
        "run_id": st.uuids().map(str),
        "tracking.run_name": st.text(max_size=3),
    },
    optional={"model.width": st.sampled_from(["4", "8"])},
)


def essence(params):
    values = [params.get(name) for name in ("privacy.epsilon", "secure.scheme", "model.width")]
    return tuple(None if value == "null" else value for value in values)


@given(st.lists(st.tuples(settings, st.floats(-1e3, 1e3)), min_size=1, max_size=14))
def test_groups_are_the_runs_of_the_same_settings_and_their_means_those_of_the_seeds(each):
    runs = [logged(params, value) for params, value in each]
    found = trials(runs)
    groups = group(found, *columns_for(found))
    together = {}
    for run in runs:
        together.setdefault(essence(run.params), []).append(run)
    assert {frozenset(t.run.run_id for t in (*g.counted, *g.repeated)) for g in groups} == {
        frozenset(run.run_id for run in members) for members in together.values()
    }
    assert len({g.label for g in groups}) == len(groups)
    for each_group in groups:
        members = together[essence(each_group.counted[0].run.params)]
        last = {run.params["seed"]: run.metrics["error"] for run in members}  # all finished, oldest first
        summary = each_group.summary("error")
        assert summary.n == len(last)
        assert summary.mean == pytest.approx(statistics.fmean(last.values()), abs=1e-9)


def test_what_says_where_and_when_is_no_setting():
    base = {"seed": 0, "training.rate": 1}
    others = {"run_id": "a", "first_run_id": "b", "engine.workers": 2, "engine.threads": 3}
    others |= {"privacy.ledger": "x", "secure.key_folder": "y", "tracking.uri": "z", "encryption.holders": 1}
    assert differing([base, {**base, **others, "seed": 1}]) == []
    assert differing([base, {**base, "training.rate": 2}]) == ["training.rate"]


def test_a_seed_that_is_the_runs_seed_is_no_setting_but_another_is():
    same = [{"seed": str(n), "data.seed": str(n)} for n in range(3)]
    assert differing(same) == []
    assert differing([{"seed": "0", "data.seed": "0"}, {"seed": "1", "data.seed": "7"}]) == ["data.seed"]


def names_of(settings, overrides=()):
    return [column.short for column in columns_of(settings, differing(settings), overrides)]


def test_columns_come_in_the_order_of_the_command_line_and_have_short_names():
    each = [
        {"privacy.epsilon": e, "secure.scheme": s, "a.rate": r, "b.rate": r + 1}
        for e, s, r in ((1, "bfv", 0), (3, "ckks", 1), (1, "ckks", 2), (3, "bfv", 0))
    ]
    each = [{name: str(value) for name, value in one.items()} for one in each]
    assert names_of(each, ["secure=bfv 'privacy.epsilon=1' seed=0"]) == [
        "scheme",
        "epsilon",
        "a.rate",
        "b.rate",
    ]


def test_what_only_comes_with_a_choice_is_not_a_column_but_what_was_asked_for_is():
    plain = {"secure.scheme": "plain"}
    sealed = {"secure.scheme": "bfv", "secure.bits": "16", "secure.holders": "1"}
    assert names_of([plain, sealed]) == ["scheme"]
    assert names_of([plain, sealed], ["secure.bits=16"]) == ["bits", "scheme"]
    # two values of it are no mere company of the choice
    assert names_of([plain, sealed, {**sealed, "secure.bits": "8"}]) == ["bits", "scheme"]
    # and what nothing else tells is always a column
    assert names_of([{"privacy.lifetime": "null"}, {"privacy.lifetime": "5"}]) == ["lifetime"]


def test_of_settings_that_change_only_together_two_are_columns():
    first = {"a.x": "1", "b.y": "1", "c.z": "1", "mode._target_": "p.A"}
    second = {"a.x": "2", "b.y": "2", "c.z": "2", "mode._target_": "p.B"}
    assert names_of([first, second]) == ["x", "mode"]
    assert names_of([first, second], ["b.y=1 c.z=2 a.x=0"]) == ["y", "z", "x"]


def test_what_is_null_or_off_is_as_if_it_were_not_there():
    old = {"seed": "0", "a.rate": "1"}
    new = {**old, "a.bands": "null", "relays.enabled": "false", "relays.shares": "3"}
    assert len(compared([logged(old, 1.0), logged({**new, "seed": "1"}, 2.0)]).groups) == 1
    on = {**new, "relays.enabled": "true"}
    assert [each.label for each in compared([logged(old, 1.0), logged(on, 2.0)]).groups] == [
        "relays=none",
        "relays=true",
    ]


def test_what_a_refused_run_was_asked_for_makes_no_column_that_the_others_cannot_fill():
    begun = [logged({"seed": seed, "f.clients": n}, 1.0) for n in (2, 4) for seed in (0, 1)]
    asked = {"f.clients": 100, "secure.bits": 16, "relays.shares": 3, "x.enabled": "false"}
    tags = {"refused": "before training began", "failure": "too many", "overrides": "f.clients=100"}
    refused = [logged({"seed": seed, **asked}, status="FAILED", tags=tags) for seed in (0, 1)]
    found = compared([*begun, *refused])
    assert [(each.label, each.states_text) for each in found.groups] == [
        ("clients=2", "2 of 2"),
        ("clients=4", "2 of 2"),
        ("clients=100", "0 of 2, 2 failed: too many"),
    ]
    only = compared(refused, metrics=[ERROR])
    assert [each.states_text for each in only.groups] == ["0 of 2, 2 failed: too many"]


def test_groups_stand_by_number_none_first_and_infinity_last_and_words_as_they_came():
    runs = [
        logged({"seed": 0, "privacy.epsilon": epsilon, "s.scheme": scheme}, 1.0)
        for scheme in ("plain", "bfv")
        for epsilon in ("inf", "10.0", "3.0", "null")
    ]
    labels = [each.label for each in compared(runs).groups]
    assert labels[::2] == [f"epsilon={e}, scheme=plain" for e in ("none", "3", "10", "inf")]
    assert labels[1::2] == [f"epsilon={e}, scheme=bfv" for e in ("none", "3", "10", "inf")]


@pytest.mark.parametrize(
    ("name", "values", "texts"),
    [
        ("a.keys", ["null", "none"], ["keys=not set", "keys=none"]),
        ("model._target_", ["mine.nets.CNN", "theirs.CNN"], ["model=mine.nets.CNN", "model=theirs.CNN"]),
        ("a.rate", ["1.0", "1"], ["rate=1.0", "rate=1"]),
        ("a.faults", ["x" * 200 + "1", "x" * 200 + "2"], ["#1", "#2"]),
    ],
)
def test_values_that_would_read_the_same_are_told_apart(name, values, texts):
    labels = [each.label for each in compared([logged({"seed": 0, name: v}, 1.0) for v in values]).groups]
    assert len(set(labels)) == 2
    assert all(label.endswith(text) for label, text in zip(labels, texts, strict=True))


def test_of_runs_repeated_with_a_seed_the_last_that_finished_counts():
    runs = [
        logged({"seed": 0}, 1.0),
        logged({"seed": 0}, 2.0),
        logged({"seed": 0}, 9.0, status="FAILED"),
        logged({"seed": 1}, 4.0),
    ]
    found = compared(runs)
    assert [trial.run.run_id for trial in found.groups[0].counted] == [runs[1].run_id, runs[3].run_id]
    assert found.groups[0].summary("error").mean == 3.0
    assert any(note.startswith("2 runs were run again") for note in found.notes)


def test_the_reference_is_the_group_that_differs_only_in_what_was_named():
    runs = [
        logged({"seed": seed, "privacy.epsilon": e, "secure.scheme": s}, value)
        for value, (e, s, seed) in enumerate(
            (e, s, seed) for e in ("1.0", "inf") for s in ("plain", "bfv") for seed in (0, 1)
        )
    ]
    found = compared(runs, {"epsilon": "inf"})
    pairs = {
        (found.groups[test.group].label, found.groups[test.reference].label, test.paired.difference)
        for test in found.tests
    }
    assert pairs == {
        ("epsilon=1, scheme=plain", "epsilon=inf, scheme=plain", -4.0),
        ("epsilon=1, scheme=bfv", "epsilon=inf, scheme=bfv", -4.0),
    }
    one = compared(runs, {"privacy.epsilon": "1", "scheme": "plain"})
    assert {one.groups[test.reference].label for test in one.tests} == {"epsilon=1, scheme=plain"}
    assert len(one.tests) == 3


@pytest.mark.parametrize(
    ("against", "said"),
    [
        (
            {"rate": "1"},
            r"^--against rate: is no setting in which the groups differ; they differ in epsilon$",
        ),
        ({"epsilon": "5"}, r"^--against epsilon=5: no group has this; there are epsilon=1; epsilon=3$"),
    ],
)
def test_a_reference_that_is_not_there_is_refused(against, said):
    from fedpriv.errors import UserError

    runs = [logged(each, 1.0) for each in grid(**{"privacy.epsilon": (1.0, 3.0), "seed": (0, 1)})]
    with pytest.raises(UserError, match=said):
        compared(runs, against)
