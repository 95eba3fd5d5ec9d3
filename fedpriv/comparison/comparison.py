"""A comparison: groups of runs, their tests against a reference, and what a reader must know beside them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fedpriv.comparison.columns import Column, same_value
from fedpriv.comparison.groups import Group, columns_for, group, is_placed
from fedpriv.comparison.judged import Judged
from fedpriv.comparison.statistics import Paired, holm, paired
from fedpriv.comparison.text import shown
from fedpriv.comparison.trials import Trial
from fedpriv.console.wording import seeded_text
from fedpriv.errors import UserError

WARNINGS = ("INCOMPLETE", "ENDED EARLY")
"""What notes begin with that no reader may miss."""

_NAMED = 6
"""Runs, commits and settings that are named one by one in a note."""


@dataclass(frozen=True)
class Difference:
    """One group against its reference, by one metric.

    Attributes:
        group: place in :attr:`Comparison.groups`.
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


@dataclass(frozen=True)
class Comparison:
    """What is shown.

    Attributes:
        title: of what.
        command: that made it.
        metrics: the one that matters first.
        columns: settings that tell groups apart.
        groups: in order.
        unplaced: runs that do not say what their settings were.
        tests: in the order of metrics, then of groups.
        notes: what the figures alone would hide.
    """

    title: str
    command: str
    metrics: list[Judged]
    columns: list[Column]
    groups: list[Group]
    unplaced: list[Trial]
    tests: list[Difference]
    notes: list[str]

    @property
    def trials(self) -> list[Trial]:
        """All runs, by group."""
        placed = [trial for each in self.groups for trial in (*each.counted, *each.repeated)]
        return [*placed, *self.unplaced]


def compare(
    trials: Sequence[Trial],
    metrics: Sequence[Judged],
    against: Mapping[str, str] | None = None,
    title: str = "",
    command: str = "",
    notes: Sequence[str] = (),
) -> Comparison:
    """Group runs and test the groups.

    The reference of a group is the group that is the same but for the settings of ``against``; where there is
    none, the only group with these settings. Without ``against`` it is the first group for all.

    Args:
        trials: each run once.
        metrics: the one that matters first.
        against: setting (dotted or short name) to value; None or empty is the first group.
        title: of the comparison.
        command: that made it.
        notes: on the choice of runs.

    Raises:
        UserError: when ``against`` names no setting that differs, or no group has these values.
    """
    placed = [trial for trial in trials if is_placed(trial)]
    columns, names = columns_for(placed)
    groups = group(placed, columns, names)
    references = _references(groups, columns, against or {})
    tests = _tested(groups, references, metrics)
    found = Comparison(
        title=title,
        command=command,
        metrics=list(metrics),
        columns=columns,
        groups=groups,
        unplaced=[trial for trial in trials if not is_placed(trial)],
        tests=tests,
        notes=[],
    )
    hidden = [name for name in names if name not in {column.name for column in columns}]
    return Comparison(**{**vars(found), "notes": [*notes, *_notes(found, hidden)]})


def _references(
    groups: Sequence[Group], columns: Sequence[Column], against: Mapping[str, str]
) -> list[int | None]:
    if not against:
        return [None, *([0] * (len(groups) - 1))] if groups else []
    asked = {_place(columns, name): value for name, value in against.items()}
    chosen = [
        number
        for number, each in enumerate(groups)
        if all(same_value(each.values[place], value) for place, value in asked.items())
    ]
    said = ",".join(f"{name}={value}" for name, value in against.items())
    if not chosen:
        labels = "; ".join(each.label for each in groups[:_NAMED])
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


def _tested(
    groups: Sequence[Group], references: Sequence[int | None], metrics: Sequence[Judged]
) -> list[Difference]:
    pairs = [
        (number, reference, metric.name)
        for metric in metrics
        for number, reference in enumerate(references)
        if reference is not None
    ]
    found = [paired(groups[ours].by_seed(name), groups[theirs].by_seed(name)) for ours, theirs, name in pairs]
    with_p = [(place, each.p) for place, each in enumerate(found) if each is not None and each.p is not None]
    corrected = dict(zip([place for place, _ in with_p], holm([p for _, p in with_p]), strict=True))
    return [
        Difference(ours, theirs, name, each, corrected.get(place))
        for place, ((ours, theirs, name), each) in enumerate(zip(pairs, found, strict=True))
    ]


def _notes(found: Comparison, hidden: Sequence[str]) -> list[str]:
    notes = []
    unfinished = sum(trial.state != "finished" for each in found.groups for trial in each.counted)
    if unfinished:
        counted = sum(len(each.counted) for each in found.groups)
        notes.append(
            f"INCOMPLETE: {unfinished} of {counted} runs have not finished; means are of those that have"
        )
    finished = [trial for each in found.groups for trial in each.finished]
    early = [
        f"{shown(trial.run.name or trial.run.run_id, 40)} {trial.early}" for trial in finished if trial.early
    ]
    if early:
        notes.append(
            f"ENDED EARLY: {len(early)} of {len(finished)} finished runs are of fewer rounds than were asked "
            f"for, and in the means as they are: {_listed(early)}"
        )
    lacking = [
        f"{shown(trial.run.name or trial.run.run_id, 40)}: {trial.reason}"
        for each in found.groups
        for trial in each.counted
        if trial.lacks
    ]
    if lacking:
        notes.append(f"{len(lacking)} finished runs are in no mean of what they lack: {_listed(lacking)}")
    if found.unplaced:
        ended = [
            f"{shown(trial.run.name or trial.run.run_id, 40)} ({trial.state}"
            + (f": {shown(trial.reason, 80)})" if trial.reason else ")")
            for trial in found.unplaced
        ]
        notes.append(f"{len(ended)} runs ended before they said their settings: {_listed(ended)}")
    repeated = sum(len(each.repeated) for each in found.groups)
    if repeated:
        notes.append(
            f"{repeated} runs were run again with the same settings and seed: the last that finished counts"
        )
    notes += _privacy_notes(finished)
    commits = list(
        dict.fromkeys(shown(trial.run.tags.get("git_commit", "unknown"), 50) for trial in finished)
    )
    if len(commits) > 1:
        notes.append(
            f"the runs are of {len(commits)} git commits: {_listed([each[:12] for each in commits])}"
        )
    if hidden:
        notes.append(
            f"not shown, for they change only with what is: {_listed([shown(name, 60) for name in hidden])}"
        )
    if sum(test.p_holm is not None for test in found.tests) > 1:
        notes.append(
            "p-values are of paired t-tests over seeds, p (Holm) is corrected for all of them; a verdict "
            "is one at p (Holm) < 0.05"
        )
    return notes


def _privacy_notes(finished: Sequence[Trial]) -> list[str]:
    private = [trial for trial in finished if trial.epsilon is not None]
    notes = []
    seeded = sum(trial.run.tags.get("privacy_noise", "secure") != "secure" for trial in private)
    if seeded:
        notes.append(seeded_text(seeded, len(private)))
    units = dict.fromkeys(
        shown(trial.run.tags.get("privacy_relation", "unknown"), 60)
        for trial in private
        if trial.run.tags.get("privacy_relation", "none") != "none"
    )
    if len(units) > 1:
        notes.append(f"epsilons are of different neighbours, not to be compared: {_listed(list(units))}")
    deltas = sorted({trial.run.params.get("privacy.delta", "unknown") for trial in private})
    if deltas:
        listed = _listed([shown(delta, 20) for delta in deltas])
        notes.append(f"epsilon is the largest that a run of the group states, at delta {listed}")
    return notes


def _listed(things: Sequence[str]) -> str:
    return ", ".join([*things[:_NAMED], *(["..."] if len(things) > _NAMED else [])])
