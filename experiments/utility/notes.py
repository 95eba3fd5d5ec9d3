"""What a reader of the utility table must know beside its figures; it stands wherever the table does."""

from collections.abc import Sequence

from experiments.utility.trials import Gap, Trial

_SHOWN = 4
"""Runs and commits that are named one by one."""


def said_of_gaps(trials: Sequence[Trial], gaps: Sequence[Gap]) -> str:
    """Return how many runs the table lacks, and the first of them."""
    return f"{len(gaps)} of {len(gaps) + len(trials)} runs are missing or unfinished: {_listed(gaps, '; ')}"


def notes_of(trials: Sequence[Trial], gaps: Sequence[Gap]) -> list[str]:
    """Return one line per thing that the figures alone would hide; none for a table like any other."""
    notes = []
    if gaps:
        notes.append(f"INCOMPLETE: {said_of_gaps(trials, gaps)}")
    seeded = sum(trial.seeded_noise for trial in trials)
    if seeded:
        notes.append(
            f"NOTE: noise of {seeded} runs was seeded (privacy.noise=fast), so it protects nobody: research "
            "only"
        )
    commits = list(dict.fromkeys(trial.commit for trial in trials))
    if len(commits) > 1:
        notes.append(f"NOTE: the runs are of {len(commits)} git commits: {_listed(commits, ', ')}")
    spent = [Gap(trial.cell, trial.seed, trial.run_id) for trial in trials if trial.all_spent]
    if spent:
        notes.append(
            f"NOTE: in the last round of {len(spent)} runs no client took part, for every privacy budget was "
            f"spent: {_listed(spent, '; ')}"
        )
    return notes


def _listed(things: Sequence[object], separator: str) -> str:
    return separator.join([*map(str, things[:_SHOWN]), *(["..."] if len(things) > _SHOWN else [])])
