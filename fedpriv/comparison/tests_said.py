"""What a reader must know beside the tests: what was not tested and why, and how much a p-value counts."""

from collections.abc import Sequence

from fedpriv.comparison.groups import Group
from fedpriv.comparison.judged import Judged
from fedpriv.comparison.tested import Difference
from fedpriv.comparison.text import listed

OPTIMISTIC = (
    "seeds redraw who is held out of one population, so runs share people and the paired test is optimistic "
    "(Nadeau and Bengio 2003, Machine Learning 52, Inference for the generalization error): small p-values "
    "count less than their digits"
)
"""Stands beside every test."""


def notes_on_tests(
    groups: Sequence[Group], metrics: Sequence[Judged], tests: Sequence[Difference]
) -> list[str]:
    """Return the notes, those on what is missing first.

    Args:
        groups: of the comparison.
        metrics: of the comparison.
        tests: of the comparison.
    """
    notes = [said for metric in metrics if (said := _untested(groups, metric, tests))]
    notes += _pairs_said(groups, metrics, tests)
    across = [
        _who(groups, test)
        for test in _first_metric(tests)
        if {groups[test.group].privacy_unit, groups[test.reference].privacy_unit} >= {"sample", "client"}
    ]
    if across:
        notes.append(
            "sample against client level: the difference is of utility only, for their epsilons protect "
            f"different things and are not to be compared: {listed(across)}"
        )
    if sum(test.p_holm is not None for test in tests) > 1:
        notes.append(
            "p-values are of paired t-tests over seeds, p (Holm) is corrected for all of them; a verdict "
            "is one at p (Holm) < 0.05"
        )
    if any(test.paired is not None and test.paired.n > 1 for test in tests):
        notes.append(OPTIMISTIC)
    return notes


def _untested(groups: Sequence[Group], metric: Judged, tests: Sequence[Difference]) -> str:
    """Say why no two groups were set against each other by a metric; empty where two were."""
    having = [number for number, each in enumerate(groups) if each.by_seed(metric.name)]
    both = [
        test for test in tests if test.metric == metric.name and {test.group, test.reference} <= {*having}
    ]
    if both:
        return ""
    why = "no group and its reference both have it"
    if len(groups) < 2:
        why = "there is one group only"
    elif len(having) < 2:
        why = (
            f"{groups[having[0]].label} is the only group that has it" if having else "no finished run has it"
        )
    return f"{metric.label} is not tested: {why}"


def _pairs_said(groups: Sequence[Group], metrics: Sequence[Judged], tests: Sequence[Difference]) -> list[str]:
    labels = {metric.name: metric.label for metric in metrics}
    none, one, fewer = [], [], []
    for test in tests:
        ours, theirs = (len(groups[place].by_seed(test.metric)) for place in (test.group, test.reference))
        if not ours or not theirs:
            continue
        who = _who(groups, test) if len(metrics) == 1 else f"{_who(groups, test)} by {labels[test.metric]}"
        pairs = 0 if test.paired is None else test.paired.n
        if not pairs:
            none.append(who)
            continue
        if pairs == 1:
            one.append(who)
        if pairs < max(ours, theirs):
            said = "1 common seed" if pairs == 1 else f"{pairs} common seeds"
            fewer.append(f"{who} is paired over {said} of {ours} and {theirs}")
    notes = []
    if none:
        notes.append(f"no common seeds, not tested: {listed(none)}")
    if one:
        notes.append(f"one pair only, not tested: {listed(one)}")
    if fewer:
        notes.append(f"{listed(fewer)}; the means are over all")
    return notes


def _first_metric(tests: Sequence[Difference]) -> list[Difference]:
    """Return of each two groups that have pairs one test."""
    found: dict[tuple[int, int], Difference] = {}
    for test in tests:
        if test.paired is not None:
            found.setdefault((test.group, test.reference), test)
    return list(found.values())


def _who(groups: Sequence[Group], test: Difference) -> str:
    return f"({groups[test.group].label}) against ({groups[test.reference].label})"
