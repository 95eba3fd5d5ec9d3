"""Runs that have finished a job already, with all that is asked of it now."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fedpriv.sweeps.reports import Report

Run = Any
"""A :class:`fedpriv.tracking.queries.LoggedRun`; naming it would load MLflow."""


def gives(run: Run, tracking: Any) -> bool:
    """Tell whether a run keeps what ``tracking`` asks for: its model, if it is to be logged and there is one.

    The configuration of where a run is kept is in no job's key, and a job would otherwise be taken from a run
    without a model. A run with ``mode=local`` has none.
    """
    has = run.params.get("tracking.log_model") == "true" or run.params.get("mode") == "local"
    return has or not tracking.log_model


def finished(known: Iterable[Run], tracking: Any) -> Run | None:
    """Return the first run that has finished and :func:`gives` what is asked for; None without one."""
    done = (run for run in known if run.status == "FINISHED")
    return next((run for run in done if gives(run, tracking)), None)


def take(runs: Any, run: Run, member: Any, tracking: Any) -> Report:
    """Make a finished run a job's, registered as ``tracking.register`` names; return the job's report.

    Raises:
        UserError: when the store or the registry does not take it.
    """
    runs.join(run.run_id, member)
    register(runs, run.run_id, tracking)
    return of_run(member.number, run)


def register(runs: Any, run_id: str, tracking: Any) -> None:
    """Register a finished run's model if that is asked for; one that is registered so keeps its version.

    Raises:
        UserError: when it has no model, or the registry does not take it.
    """
    if tracking.register is not None:
        from fedpriv.tracking.registry import register as register_model

        register_model(runs.location.uri, run_id, tracking.register)


def of_run(number: int, run: Run) -> Report:
    """Return the report of a job that a run has done already."""
    metric = run.tags.get("metric")
    value = None if metric is None else run.metrics.get(metric)
    return Report(number, "reused", metric, value, run.tags.get("epsilon"), run.run_id)


def said_of_code(used: Sequence[Run], now: str) -> str | None:
    """Say in one line that runs are of other code than ``now`` (a commit); None where they are not."""
    others = {run.tags.get("git_commit", "") for run in used}
    if not others or (others == {now} and not now.endswith("-dirty")):
        return None
    which = ", ".join(sorted(map(_short, others)))
    return (
        f"{len(used)} jobs are reused from earlier code ({which}; now {_short(now)}); for new ones take "
        "another tracking.experiment"
    )


def chosen(overrides: Iterable[str], groups: Mapping[str, Any]) -> dict[str, str]:
    """Return what a command line chooses of groups of the configuration, e.g. ``{"secure": "bfv"}``.

    Args:
        overrides: ``NAME=VALUE``.
        groups: all groups with their choices, as Hydra has them.
    """
    named = [line.partition("=")[0].lstrip("+") for line in overrides]
    return {name: str(groups[name]) for name in named if groups.get(name) is not None}


def _short(commit: str) -> str:
    return commit[:8] + commit[40:]
