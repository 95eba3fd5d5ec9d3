"""Runs of a comparison that were at work at the same time: they may have waited for each other."""

from collections.abc import Sequence

from fedpriv.comparison.trials import Trial


def shared_time(trials: Sequence[Trial]) -> list[str]:
    """Say how many of the finished runs overlap with others from start to end; nothing where none does.

    Runs of which the store has no start or no end, as one that still runs, are left out.

    Args:
        trials: all runs of the comparison.
    """
    timed = [
        (trial.run.started, trial.run.ended, trial)
        for trial in trials
        if trial.run.started and trial.run.ended is not None
    ]
    timed.sort(key=lambda each: each[:2])
    shared: set[str] = set()
    latest: tuple[int, str] | None = None  # end and id of the run that ends last of those before
    for started, ended, trial in timed:
        if latest is not None and started < latest[0] and started < ended:
            shared |= {latest[1], trial.run.run_id}
        if latest is None or ended > latest[0]:
            latest = (ended, trial.run.run_id)
    finished = [trial for trial in trials if trial.state == "finished" and trial.round_seconds is not None]
    count = sum(trial.run.run_id in shared for trial in finished)
    if not count:
        return []
    return [
        f"seconds of {count} of {len(finished)} runs were taken while other runs of this comparison ran "
        "at the same time, and may hold their share of the machine"
    ]
