"""Trials of a study as a search knows them: under way, and ended."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from fedpriv.sweeps.reports import Report
from fedpriv.sweeps.search.space import Params

REPORT = "fedpriv_report"
"""Attribute of a trial: what its job told last, as JSON."""
STATES = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}


@dataclass(frozen=True)
class Trial:
    """One trial that is under way.

    Attributes:
        number: in the study; the job's number in the sweep.
        params: the settings that it tries.
        handle: Optuna's.
    """

    number: int
    params: Params
    handle: optuna.Trial


@dataclass(frozen=True)
class Told:
    """One trial that has ended.

    Attributes:
        number: in the study.
        state: ``complete``, ``pruned`` or ``failed``.
        params: the settings that it tried.
        values: of the objectives; empty unless it is complete.
        by_round: what it reported, by round.
        report: of its job.
    """

    number: int
    state: str
    params: Mapping[str, Any]
    values: tuple[float, ...]
    by_round: Mapping[int, float]
    report: Report


def told_of(trial: FrozenTrial) -> Told:
    """Read a trial that has ended."""
    try:
        plain = json.loads(trial.user_attrs[REPORT])
        report = Report(**plain)
    except (KeyError, ValueError, TypeError):  # of a trial that was ended by hand
        state = "finished" if trial.state is TrialState.COMPLETE else STATES[trial.state]
        report = Report(trial.number, state)  # type: ignore[arg-type]
    values = trial.values if trial.state is TrialState.COMPLETE else None
    return Told(
        trial.number,
        STATES[trial.state],
        dict(trial.params),
        tuple(values or ()),
        {step: value for step, value in trial.intermediate_values.items() if math.isfinite(value)},
        report,
    )
