"""Runs that have finished a job already, with all that is asked of it now."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from fedpriv.errors import UserError
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
    return of_run(runs, member.number, run)


def register(runs: Any, run_id: str, tracking: Any) -> None:
    """Register a finished run's model if that is asked for; one that is registered so keeps its version.

    Raises:
        UserError: when it has no model, or the registry does not take it.
    """
    if tracking.register is not None:
        from fedpriv.tracking.registry import register as register_model

        register_model(runs.location.uri, run_id, tracking.register)


def of_run(runs: Any, number: int, run: Run) -> Report:
    """Return the report of a job that a run has done already; without a value that is not the last round's.

    Raises:
        UserError: when the store does not answer.
    """
    from fedpriv.tracking.histories import curves_of
    from fedpriv.tracking.last_round import ROUNDS, lack

    metric, value = run.tags.get("metric"), None
    if metric in run.metrics:
        curves = curves_of(runs.location.uri, {run.run_id: [metric, ROUNDS]})[run.run_id]
        if not lack(run.metrics, metric, curves[metric], max(curves[ROUNDS], default=None)):
            value = run.metrics[metric]
    return Report(number, "reused", metric, value, run.tags.get("epsilon"), run.run_id)


def said_killed(number: int, runs: Any, parent: str | None) -> Report:
    """Return the report of a job whose process was killed; its run of the sweep ``parent`` is FAILED.

    Edge cases:
        One that was killed before it had a run has none. A store that does not answer is left as it is.
    """
    report = Report(number, "failed", reason="its process was killed, by lack of memory?")
    if runs is None or parent is None:
        return report
    from fedpriv.tracking.sweeps import member_tag

    with suppress(UserError):
        for run in runs.members(parent):
            if run.tags[member_tag(parent)] == str(number) and run.status == "RUNNING":
                report = replace(report, run_id=run.run_id)
                runs.end(run.run_id, "FAILED", report.reason)
                of_rounds = of_run(runs, number, run)
                report = replace(of_rounds, state=report.state, reason=report.reason)
    return report


def said_of_code(used: Sequence[Run], now: str) -> str | None:
    """Say in one line that runs are of other code than ``now`` (a commit); None where they are not."""
    others = {run.tags.get("git_commit", "") for run in used}
    if not others or (others == {now} and not now.endswith("-dirty")):
        return None
    which = ", ".join(sorted(map(_short, others)))
    return (
        f"{said_jobs(len(used))} reused from earlier code ({which}; now {_short(now)}); for new ones take "
        "another tracking.experiment"
    )


def said_jobs(count: int) -> str:
    """Return so many jobs in words: ``1 job``, ``2 jobs``."""
    return f"{count} job{'' if count == 1 else 's'}"


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
