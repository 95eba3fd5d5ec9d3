"""Runs as a store has them, and comparisons of them, for tests."""

import itertools

from fedpriv.comparison.comparison import compare
from fedpriv.comparison.judged import Judged, judged_in
from fedpriv.comparison.trials import trial_of
from fedpriv.tracking.queries import LoggedRun

ERROR = Judged("error", "error (deg)", lower_is_better=True)
_COUNT = itertools.count(1)

TAGS = {"metric": "error", "metric_label": "error (deg)", "metric_lower_is_better": "true"}


def logged(params, metrics=None, status="FINISHED", **more):
    """Return a run judged by ``error``; a number is its value."""
    number = next(_COUNT)
    named = {"error": float(metrics)} if isinstance(metrics, (int, float)) else dict(metrics or {})
    return LoggedRun(
        run_id=more.get("run_id", f"{number:032x}"),
        name=more.get("name", f"run-{number}"),
        status=status,
        params={name: str(value) for name, value in params.items()},
        tags={**TAGS, **more.get("tags", {})},
        metrics=named,
        started=more.get("started", number * 1000),
        ended=more.get("ended"),
    )


def trials(runs, curves=None, metrics=None):
    """Return trials of runs; ``curves`` by run id."""
    metrics = metrics or judged_in(runs)
    return [trial_of(run, metrics, (curves or {}).get(run.run_id, {})) for run in runs]


def compared(runs, against=None, curves=None, metrics=None, **more):
    """Return the comparison of runs."""
    metrics = metrics or judged_in(runs)
    return compare(
        trials(runs, curves, metrics), metrics, against, title="a title", command="a command", **more
    )


def grid(**values):
    """Return settings of every combination."""
    return [dict(zip(values, each, strict=True)) for each in itertools.product(*values.values())]
