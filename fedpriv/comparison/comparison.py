"""A comparison: groups of runs, their tests against a reference, and what a reader must know beside them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fedpriv.comparison.columns import Column
from fedpriv.comparison.groups import Group, columns_for, group, is_placed
from fedpriv.comparison.judged import Judged
from fedpriv.comparison.overlaps import shared_time
from fedpriv.comparison.tested import Difference, tested
from fedpriv.comparison.tests_said import notes_on_tests
from fedpriv.comparison.text import listed, shown
from fedpriv.comparison.trials import Trial
from fedpriv.console.wording import seeded_text

WARNINGS = ("INCOMPLETE", "ENDED EARLY")
"""What notes begin with that no reader may miss."""


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
    none, the only group with these settings. Without ``against`` it is, for each metric, the first group that
    has the metric.

    Args:
        trials: each run once.
        metrics: the one that matters first.
        against: setting (dotted or short name) to value; None or empty is the first group with the metric.
        title: of the comparison.
        command: that made it.
        notes: on the choice of runs.

    Raises:
        UserError: when ``against`` names no setting that differs, or no group has these values.
    """
    placed = [trial for trial in trials if is_placed(trial)]
    columns, names = columns_for(placed)
    groups = group(placed, columns, names)
    found = Comparison(
        title=title,
        command=command,
        metrics=list(metrics),
        columns=columns,
        groups=groups,
        unplaced=[trial for trial in trials if not is_placed(trial)],
        tests=tested(groups, columns, metrics, against or {}),
        notes=[],
    )
    hidden = [name for name in names if name not in {column.name for column in columns}]
    return Comparison(**{**vars(found), "notes": [*notes, *_notes(found, hidden)]})


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
            f"for, and in the means as they are: {listed(early)}"
        )
    lacking = [
        f"{shown(trial.run.name or trial.run.run_id, 40)}: {trial.reason}"
        for each in found.groups
        for trial in each.counted
        if trial.lacks
    ]
    if lacking:
        notes.append(f"{len(lacking)} finished runs are in no mean of what they lack: {listed(lacking)}")
    if found.unplaced:
        ended = [
            f"{shown(trial.run.name or trial.run.run_id, 40)} ({trial.state}"
            + (f": {shown(trial.reason, 80)})" if trial.reason else ")")
            for trial in found.unplaced
        ]
        notes.append(f"{len(ended)} runs ended before they said their settings: {listed(ended)}")
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
        notes.append(f"the runs are of {len(commits)} git commits: {listed([each[:12] for each in commits])}")
    if hidden:
        notes.append(
            f"not shown, for they change only with what is: {listed([shown(name, 60) for name in hidden])}"
        )
    return notes + shared_time(found.trials) + notes_on_tests(found.groups, found.metrics, found.tests)


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
        notes.append(f"epsilons are of different neighbours, not to be compared: {listed(list(units))}")
    deltas = sorted({trial.run.params.get("privacy.delta", "unknown") for trial in private})
    if deltas:
        notes.append(
            f"epsilon is the largest that a run of the group states, at delta "
            f"{listed([shown(delta, 20) for delta in deltas])}"
        )
    return notes
