"""Groups against their references: which is tested against which, and what the tests find."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fedpriv.comparison.columns import Column, same_value
from fedpriv.comparison.groups import Group
from fedpriv.comparison.judged import Judged
from fedpriv.comparison.statistics import Paired, holm, paired
from fedpriv.comparison.text import LISTED
from fedpriv.errors import UserError


@dataclass(frozen=True)
class Difference:
    """One group against its reference, by one metric.

    Attributes:
        group: place in :attr:`fedpriv.comparison.comparison.Comparison.groups`.
        reference: likewise.
        metric: name.
        paired: of the seeds that both have; None where there is none.
        p_holm: the test's p-value, corrected for all tests of the comparison; None without.
    """

    group: int
    reference: int
    metric: str
    paired: Paired | None
    p_holm: float | None


def tested(
    groups: Sequence[Group],
    columns: Sequence[Column],
    metrics: Sequence[Judged],
    against: Mapping[str, str],
) -> list[Difference]:
    """Test groups against their references, in the order of metrics, then of groups.

    Args:
        groups: of the comparison.
        columns: what tells them apart.
        metrics: the one that matters first.
        against: see :func:`fedpriv.comparison.comparison.compare`; empty is, for each metric, the first group
            that has it, for tasks that are compared side by side have no metric in common.

    Raises:
        UserError: when ``against`` names no setting that differs, or no group has these values.
    """
    chosen = _chosen(groups, columns, against) if against else None
    pairs = [
        (number, reference, metric.name)
        for metric in metrics
        for number, reference in enumerate(_first(groups, metric) if chosen is None else chosen)
        if reference is not None
    ]
    found = [paired(groups[ours].by_seed(name), groups[theirs].by_seed(name)) for ours, theirs, name in pairs]
    with_p = [(place, each.p) for place, each in enumerate(found) if each is not None and each.p is not None]
    corrected = dict(zip([place for place, _ in with_p], holm([p for _, p in with_p]), strict=True))
    return [
        Difference(ours, theirs, name, each, corrected.get(place))
        for place, ((ours, theirs, name), each) in enumerate(zip(pairs, found, strict=True))
    ]


def _first(groups: Sequence[Group], metric: Judged) -> list[int | None]:
    """Return the first group that has a metric as the reference of the others that have it."""
    having = [number for number, each in enumerate(groups) if each.by_seed(metric.name)]
    return [having[0] if number in having[1:] else None for number in range(len(groups))]


def _chosen(
    groups: Sequence[Group], columns: Sequence[Column], against: Mapping[str, str]
) -> list[int | None]:
    asked = {_place(columns, name): value for name, value in against.items()}
    chosen = [
        number
        for number, each in enumerate(groups)
        if all(same_value(each.values[place], value) for place, value in asked.items())
    ]
    said = ",".join(f"{name}={value}" for name, value in against.items())
    if not chosen:
        labels = "; ".join(each.label for each in groups[:LISTED])
        raise UserError(f"--against {said}: no group has this; there are {labels}")

    def others(number: int) -> tuple[str | None, ...]:
        return tuple(value for place, value in enumerate(groups[number].values) if place not in asked)

    found: list[int | None] = []
    for number in range(len(groups)):
        same = [other for other in chosen if others(other) == others(number)]
        reference = same[0] if same else chosen[0] if len(chosen) == 1 else None
        found.append(None if number in chosen else reference)
    return found


def _place(columns: Sequence[Column], name: str) -> int:
    for place, column in enumerate(columns):
        if name in (column.name, column.short):
            return place
    known = ", ".join(column.short for column in columns) or "nothing"
    raise UserError(f"--against {name}: is no setting in which the groups differ; they differ in {known}")
