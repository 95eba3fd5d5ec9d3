"""What is tested against what, and what is said of that which is not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.compare import _print
from fedpriv.comparison.figures import to_csv, to_json
from fedpriv.comparison.overlaps import shared_time
from fedpriv.comparison.report import to_html
from fedpriv.comparison.tables import tests_table as differences_table
from fedpriv.comparison.written import to_latex, to_markdown
from tests.comparison.made import ERROR, compared, logged, trials

F1 = {"metric": "macro_f1", "metric_label": "macro F1", "metric_lower_is_better": "false"}


def two(ours, theirs, **more):
    """Return the comparison of groups a=1 and a=2, each a mapping of seed to value."""
    runs = [logged({"seed": seed, "a": 1}, value, **more) for seed, value in ours.items()]
    return compared([*runs, *(logged({"seed": seed, "a": 2}, value) for seed, value in theirs.items())])


def noted(found, text):
    """Return the notes that hold a text."""
    return [note for note in found.notes if text in note]


def mixed(gaze=1, faces=2):
    """Return runs of two tasks: gaze groups first, none of which has the F1."""
    runs = [
        logged({"seed": seed, "a": n}, {"error": 1.0 + n + seed**2}) for n in range(gaze) for seed in (0, 1)
    ]
    return runs + [
        logged({"seed": seed, "a": 10 + n}, {"macro_f1": 0.5 + n * 0.1 * (seed + 1)}, tags=F1)
        for n in range(faces)
        for seed in (0, 1)
    ]


def test_a_metric_is_tested_against_the_first_group_that_has_it():
    found = compared(mixed())
    (test,) = found.tests
    assert (test.metric, test.paired.n) == ("macro_f1", 2)
    assert (found.groups[test.reference].label, found.groups[test.group].label) == ("a=10", "a=11")
    assert test.paired.difference == pytest.approx(0.15)  # (0.1 + 0.2) / 2
    assert noted(found, "not tested") == [
        "error (deg) is not tested: a=0 is the only group that has it",
    ]
    assert differences_table(found).title == "Difference of macro F1 from a=10, by pairs of the same seed"


def test_each_metric_has_its_own_reference():
    found = compared(mixed(gaze=2))
    labels = [(t.metric, found.groups[t.group].label, found.groups[t.reference].label) for t in found.tests]
    assert labels == [("error", "a=1", "a=0"), ("macro_f1", "a=11", "a=10")]
    assert noted(found, "not tested") == []


def test_a_metric_without_a_test_says_why():
    one = compared([logged({"seed": 0}, 1.0)])
    assert noted(one, "not tested") == ["error (deg) is not tested: there is one group only"]
    failed = compared([logged({"seed": 0, "a": n}, 1.0, status="FAILED") for n in range(2)])
    assert noted(failed, "not tested") == ["error (deg) is not tested: no finished run has it"]
    other = compared(mixed(), {"a": "0"})
    assert noted(other, "macro F1 is") == ["macro F1 is not tested: no group and its reference both have it"]


def test_groups_without_common_seeds_are_said():
    found = two({0: 1.0, 1: 2.0}, {2: 1.0, 3: 2.0})
    assert noted(found, "common") == ["no common seeds, not tested: (a=2) against (a=1)"]
    assert differences_table(found) is None
    assert not noted(found, "Nadeau")


def test_one_pair_is_said():
    found = two({0: 1.0}, {0: 3.0})
    assert noted(found, "pair") == ["one pair only, not tested: (a=2) against (a=1)"]
    more = two({0: 1.0, 7: 2.0}, {0: 3.0})
    assert noted(more, "means are over all") == [
        "(a=2) against (a=1) is paired over 1 common seed of 1 and 2; the means are over all"
    ]


def test_fewer_pairs_than_runs_are_said():
    found = two(dict.fromkeys(range(5), 1.0), {0: 1.0, 1: 2.0, 2: 5.0})
    assert noted(found, "paired over") == [
        "(a=2) against (a=1) is paired over 3 common seeds of 3 and 5; the means are over all"
    ]
    assert not noted(two({0: 1.0, 1: 2.0}, {0: 2.0, 1: 4.0}), "paired over")


@pytest.mark.parametrize("by_tag", [True, False])
def test_sample_against_client_level_is_of_utility_only(by_tag):
    def made(*units):
        return compared(
            [
                logged(
                    {"seed": seed, "privacy.unit": unit},
                    1.0 + place * seed,
                    tags={"privacy_unit": unit} if by_tag else {},
                )
                for place, unit in enumerate(units)
                for seed in (0, 1)
            ]
        )

    (note,) = noted(made("sample", "client"), "utility only")
    assert "not to be compared: (unit=client) against (unit=sample)" in note
    assert not noted(made("none", "client"), "utility only")


def test_every_output_with_tests_says_that_they_are_optimistic(capsys):
    found = two({0: 1.0, 1: 2.0, 2: 4.0}, {0: 2.0, 1: 4.0, 2: 5.0})
    _print(found)
    outputs = [capsys.readouterr().out, to_html(found, [])]
    outputs += [form(found) for form in (to_markdown, to_latex, to_csv, to_json)]
    for text in outputs:
        assert text.index("Nadeau and Bengio 2003") > 0


def overlaps(*times):
    """Return what is said of finished runs of these starts and ends."""
    runs = [
        logged({"seed": n}, {"seconds_train": 1.0}, started=start, ended=end)
        for n, (start, end) in enumerate(times)
    ]
    return shared_time(trials(runs, {run.run_id: {"seconds_train": {1: 1.0}} for run in runs}, [ERROR]))


def test_runs_that_overlap_in_time_are_counted():
    assert overlaps((1, 5), (5, 9), (9, 12)) == []
    (note,) = overlaps((1, 5), (4, 9), (9, 12))
    assert note.startswith("seconds of 2 of 3 runs were taken while other runs of this comparison ran")
    assert overlaps((1, 9), (3, None)) == []  # nothing says when it ended
    assert overlaps((0, 9), (3, 5)) == []  # or began


@given(st.lists(st.tuples(st.integers(1, 20), st.integers(1, 6)), max_size=8))
def test_overlaps_are_those_of_every_two(times):
    found = overlaps(*((start, start + length) for start, length in times))
    wanted = sum(
        any(m != n and a < c + d and c < a + b for m, (c, d) in enumerate(times))
        for n, (a, b) in enumerate(times)
    )
    assert [note.split()[2] for note in found] == ([str(wanted)] if wanted else [])
