"""What a search minimises or maximises, and what a finished run says of it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from fedpriv.comparison.judged import Judged
from fedpriv.comparison.trials import trial_of, wanted_curves
from fedpriv.errors import UserError
from fedpriv.tasks.base import MetricSpec
from fedpriv.tracking.histories import curves_of
from fedpriv.tracking.queries import LoggedRun

COSTS = {
    "epsilon": "epsilon spent",
    "bytes": "bytes of all updates",
    "seconds": "wall seconds of all rounds",
}
"""What a whole run costs, the lower the better, with its label."""

_SENSES = {"minimize": True, "maximize": False}


class Lacking(UserError):
    """A finished run has no value of an objective, and would have none if it were repeated."""


class Unmeasured(Lacking):
    """It has not measured it in any round: the name may be misspelt."""


@dataclass(frozen=True)
class Objective:
    """One aim.

    Attributes:
        name: of a metric of the run, or one of :data:`COSTS`.
        label: for people.
        lower_is_better: the sense.
    """

    name: str
    label: str
    lower_is_better: bool

    @property
    def direction(self) -> str:
        """As Optuna has it."""
        return "minimize" if self.lower_is_better else "maximize"

    @property
    def sense(self) -> str:
        """In words."""
        return "lower is better" if self.lower_is_better else "higher is better"


def read_objectives(asked: Sequence[str], metric: MetricSpec) -> list[Objective]:
    """Read ``hydra.sweeper.objectives``.

    Args:
        asked: ``task`` for what the task is judged by, a name of :data:`COSTS`, or ``NAME:minimize`` and
            ``NAME:maximize`` for any metric that the run logs.
        metric: of the task.

    Raises:
        UserError: when one has no direction, or is there twice.
    """
    found = []
    for text in asked:
        name, colon, sense = (part.strip() for part in text.partition(":"))
        label = name.replace("_", " ")
        known: bool | None = None
        lower = _SENSES.get(sense)
        if name in ("task", metric.name):
            name, label, known = metric.name, metric.label, metric.lower_is_better
        elif name in COSTS:
            label, known = COSTS[name], True
        if lower is not None:
            known = lower
        if (colon and lower is None) or known is None or not name:
            raise UserError(
                f"hydra.sweeper.objectives={text}: write task, {', '.join(COSTS)}, or a metric with its "
                "direction, NAME:minimize or NAME:maximize"
            )
        found.append(Objective(name, label, known))
    names = [each.name for each in found]
    if len(set(names)) < len(names):
        raise UserError(
            f"hydra.sweeper.objectives={','.join(asked)}: the same is there twice; name each once"
        )
    return found


def values_of(objectives: Sequence[Objective], uri: str, run: LoggedRun) -> list[float]:
    """Return what a finished run has reached, in the order of the objectives.

    Epsilon is infinite without differential privacy, and where nothing bounds it.

    Raises:
        Unmeasured: when the run has nothing of that name in any round.
        Lacking: when it was not measured, or not finite, after its last round.
        UserError: when the store does not answer.
    """
    judged = [
        Judged(each.name, each.label, each.lower_is_better, of_task=False)
        for each in objectives
        if each.name not in COSTS
    ]
    curves = curves_of(uri, {run.run_id: wanted_curves(run, judged)})[run.run_id]
    trial = trial_of(run, judged, curves)
    known = {
        **trial.values,
        "epsilon": math.inf if trial.epsilon is None else trial.epsilon,
        "bytes": trial.bytes_up,
        "seconds": trial.seconds,
    }
    values = []
    for each in objectives:
        value = known.get(each.name)
        if value is None and (each.name in COSTS or each.name not in run.metrics):
            has = ", ".join(sorted(run.metrics))
            raise Unmeasured(
                f"hydra.sweeper.objectives={each.name}: was not measured in any round; name what is: {has}"
            )
        if value is None or math.isnan(value):
            raise Lacking(f"{each.name} {trial.lacks.get(each.name, 'is not a number')}")
        values.append(value)
    return values
