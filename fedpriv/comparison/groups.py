"""Runs that differ in their seed alone, together."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from fedpriv.comparison.choices import telling
from fedpriv.comparison.columns import Column, columns_of, differing, in_order
from fedpriv.comparison.statistics import Summary, summarise
from fedpriv.comparison.text import shown
from fedpriv.comparison.trials import STATES, State, Trial, epsilon_text

REFUSED = "refused"
"""Tag of a run that was refused before it began."""
_REASON = 70


@dataclass(frozen=True)
class Group:
    """Runs of the same settings.

    Attributes:
        values: of the columns, None where the runs do not have a setting.
        parts: for people, a text for each value: ``("epsilon=3", "scheme=bfv")``.
        counted: the run of each seed that stands for it: the last one that finished, else the last.
        repeated: runs of a seed for which another one stands.
    """

    values: tuple[str | None, ...]
    parts: tuple[str, ...]
    counted: tuple[Trial, ...]
    repeated: tuple[Trial, ...]

    @property
    def label(self) -> str:
        """For people, e.g. ``epsilon=3, scheme=bfv``."""
        return ", ".join(self.parts) or "all runs"

    @cached_property
    def finished(self) -> tuple[Trial, ...]:
        """Those that count: the others have no final figures."""
        return tuple(trial for trial in self.counted if trial.state == "finished")

    def by_seed(self, metric: str) -> dict[str, float]:
        """Return a metric's final values, by seed."""
        return {trial.seed or "": trial.values[metric] for trial in self.finished if metric in trial.values}

    def summary(self, metric: str) -> Summary | None:
        """Return mean and deviation of a metric over the seeds that have it."""
        return summarise(list(self.by_seed(metric).values()))

    def cost(self, of: Callable[[Trial], float | None]) -> Summary | None:
        """Return mean and deviation of what the finished runs cost."""
        return summarise([value for trial in self.finished if (value := of(trial)) is not None])

    @property
    def epsilon(self) -> float | None:
        """The largest that a finished run states; NaN if one does not say; None without privacy."""
        stated = [trial.epsilon for trial in self.finished if trial.epsilon is not None]
        if any(epsilon != epsilon for epsilon in stated):
            return float("nan")
        return max(stated, default=None)

    @property
    def epsilon_text(self) -> str:
        """The same for people; a dash where no run has finished."""
        return epsilon_text(self.epsilon) if self.finished else "–"

    @property
    def privacy_unit(self) -> str:
        """What the epsilon of the finished runs protects: ``sample``, ``client``, else ``none``."""
        for trial in self.finished[:1]:
            return trial.run.tags.get("privacy_unit", trial.settings.get("privacy.unit", "none"))
        return "none"

    @property
    def states(self) -> dict[State, int]:
        """How many of the runs that count are in each state."""
        counts = Counter(trial.state for trial in self.counted)
        return {state: counts[state] for state in STATES if counts[state]}

    @property
    def states_text(self) -> str:
        """E.g. ``3 of 3``, or ``2 of 4, 1 failed: UserError: ..., 1 running, 1 ended after round 6 of 9``."""
        parts = [f"{len(self.finished)} of {len(self.counted)}"]
        for state, count in self.states.items():
            if state != "finished":
                reasons = dict.fromkeys(trial.reason for trial in self.counted if trial.state == state)
                why = shown(next((reason for reason in reasons if reason), ""), _REASON)
                parts.append(f"{count} {state}" + (f": {why}" if why else ""))
        early = Counter(trial.early for trial in self.finished if trial.early)
        parts += [f"{count} {said}" for said, count in early.items()]
        return ", ".join(parts)


def is_placed(trial: Trial) -> bool:
    """Tell whether a run says what its settings were: one that died before it could has no parameters."""
    return "seed" in trial.run.params


def columns_for(trials: Sequence[Trial]) -> tuple[list[Column], list[str]]:
    """Return the columns of a comparison, and the names of all that groups differ in.

    A choice that all runs name (:mod:`fedpriv.comparison.choices`) stands for the settings that follow from
    it. A run that was refused before it began has logged what it was asked for, in full: of it only settings
    count that all runs have.
    """
    settings = [trial.settings for trial in trials]
    begun = [REFUSED not in trial.run.tags for trial in trials]
    every = names = differing(settings)
    if any(begun):
        of_begun = set(differing([each for each, was in zip(settings, begun, strict=True) if was]))
        names = [name for name in every if name in of_begun or all(name in each for each in settings)]
    told = telling(settings, [trial.choices for trial in trials], every, names, begun)
    follow = {name for each in told.values() for name in each}
    names = [*(name for name in names if name not in follow), *told]
    known = [{**trial.settings, **{name: trial.choices[name] for name in told}} for trial in trials]
    overrides = [trial.run.tags.get("overrides", "") for trial in trials]
    return columns_of(known, names, overrides, told), names


def group(trials: Sequence[Trial], columns: Sequence[Column], names: Sequence[str]) -> list[Group]:
    """Group runs by all that differs.

    They are ordered by the columns: settings as :func:`in_order` ranks their values, choices as they come.

    Args:
        trials: that say their settings, in the order in which values should come.
        columns: that are shown.
        names: of all that differs: groups that look alike in the columns stay apart.
    """
    found: dict[tuple[str | None, ...], list[Trial]] = {}
    for trial in trials:
        found.setdefault(tuple(_value(trial, name) for name in names), []).append(trial)
    ranks = [_ranked(column, [_value(trial, column.name) for trial in trials]) for column in columns]
    groups = [_group(members, columns) for members in found.values()]
    return sorted(
        groups,
        key=lambda each: [rank[value] for rank, value in zip(ranks, each.values, strict=True)],
    )


def _group(members: Sequence[Trial], columns: Sequence[Column]) -> Group:
    values = tuple(_value(members[0], column.name) for column in columns)
    parts = tuple(
        f"{column.short}={column.text(value)}" for column, value in zip(columns, values, strict=True)
    )
    by_seed: dict[str | None, Trial] = {}
    for trial in sorted(members, key=lambda each: (each.state == "finished", each.run.started)):
        by_seed[trial.seed] = trial
    standing = {trial.run.run_id for trial in by_seed.values()}
    return Group(
        values=values,
        parts=parts,
        counted=tuple(trial for trial in members if trial.run.run_id in standing),
        repeated=tuple(trial for trial in members if trial.run.run_id not in standing),
    )


def _value(trial: Trial, name: str) -> str | None:
    # no setting is called as a group of settings is
    return trial.settings.get(name, trial.choices.get(name))


def _ranked(column: Column, values: Sequence[str | None]) -> dict[str | None, int]:
    if not column.is_choice:
        return in_order(values)
    return {value: rank for rank, value in enumerate(dict.fromkeys(values))}
