"""Runs of the utility sweep as MLflow has them, each with its place in the table; misleading ones refused."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from fedpriv.errors import UserError
from fedpriv.privacy.rounded import at_most
from fedpriv.tasks.base import Task
from fedpriv.tasks.emotion import EmotionTask
from fedpriv.tasks.gaze import GazeTask
from fedpriv.tracking.queries import LoggedRun

TASKS: dict[str, type[Task]] = {"gaze": GazeTask, "emotion": EmotionTask}
LEVELS = ("sample", "client")

Cell = tuple[str, str, float]
"""Task, level and target epsilon."""

_MAY_DIFFER = ("privacy.epsilon", "seed", "run_id", "first_run_id", "privacy.ledger")
_MAY_DIFFER_IN = ("tracking.", "engine.", "encryption.")
"""Where a run was logged, on what it ran, and what follows from its epsilon."""


@dataclass(frozen=True)
class Trial:
    """One finished run.

    Attributes:
        cell: its place in the table.
        seed: of the run.
        value: the task's metric at the end, on people never trained on.
        baseline: the same without learning.
        claimed: epsilon that the run states of itself; None without privacy.
        delta: that the claim is stated at; None without privacy.
        seeded_noise: whether its noise was seeded, and so protects nobody.
        all_spent: whether every client that was asked in its last round refused, for its budget was spent.
        commit: git commit of its code.
        run_id: in MLflow.
    """

    cell: Cell
    seed: int
    value: float
    baseline: float
    claimed: float | None
    delta: float | None
    seeded_noise: bool
    all_spent: bool
    commit: str
    run_id: str


@dataclass(frozen=True)
class Gap:
    """A run that the table should have and has not, and why."""

    cell: Cell
    seed: int
    reason: str

    def __str__(self) -> str:
        """Return e.g. ``gaze client epsilon=3 seed=2 (no run)``."""
        task, level, epsilon = self.cell
        return f"{task} {level} epsilon={epsilon:g} seed={self.seed} ({self.reason})"


def collect(
    runs: Iterable[LoggedRun], epsilons: Sequence[float], seeds: Sequence[int]
) -> tuple[list[Trial], list[Gap]]:
    """Find the run of every task, level, epsilon and seed; say which are missing or unfinished.

    A run that failed counts as nothing where a later or earlier one of the same place finished.

    Args:
        runs: of one experiment.
        epsilons: targets, ``inf`` for the runs without privacy.
        seeds: of every cell.

    Returns:
        The finished runs, and the gaps.

    Raises:
        UserError: when two finished runs claim one place, when runs of one task and level differ in more
            than epsilon and seed, when a run states more than its target, or when one without privacy
            states an epsilon.
    """
    found: dict[tuple[Cell, int], list[LoggedRun]] = {}
    for run in runs:
        place = _place(run)
        if place is not None:
            found.setdefault(place, []).append(run)
    trials: list[Trial] = []
    gaps: list[Gap] = []
    settings: dict[tuple[str, str], LoggedRun] = {}
    for cell in ((task, level, eps) for task in TASKS for level in LEVELS for eps in epsilons):
        for seed in seeds:
            here = found.get((cell, seed), [])
            finished = [run for run in here if run.status == "FINISHED"]
            if not finished:
                gaps.append(Gap(cell, seed, "no run" if not here else here[-1].status.lower()))
                continue
            if len(finished) > 1:
                ids = ", ".join(run.run_id for run in finished)
                raise UserError(
                    f"{Gap(cell, seed, 'two runs')}: {ids} have both finished; delete one of them with "
                    "`mlflow runs delete --run-id ID`"
                )
            _require_alike(settings.setdefault(cell[:2], finished[0]), finished[0])
            trials.append(_trial(cell, seed, finished[0]))
    return trials, gaps


def _place(run: LoggedRun) -> tuple[Cell, int] | None:
    """Return where a run belongs; None for one that belongs nowhere."""
    target, level = run.params.get("task._target_", ""), run.params.get("privacy.unit", "")
    names = {f"{task.__module__}.{task.__name__}": name for name, task in TASKS.items()}
    if target not in names or level not in LEVELS:
        return None
    try:
        return (names[target], level, float(run.params["privacy.epsilon"])), int(run.params["seed"])
    except (KeyError, ValueError):  # a run by its noise multiplier, or one that was cut off while logging
        return None


def _require_alike(first: LoggedRun, other: LoggedRun) -> None:
    ours, theirs = _compared(first.params), _compared(other.params)
    for name in sorted(ours.keys() | theirs.keys()):
        if ours.get(name) != theirs.get(name):
            raise UserError(
                f"runs {first.run_id} and {other.run_id}: differ in {name} ({ours.get(name)}, "
                f"{theirs.get(name)}), so that epsilon alone does not explain their figures; delete one"
            )


def _compared(params: Mapping[str, str]) -> dict[str, str]:
    return {
        name: text
        for name, text in params.items()
        if name not in _MAY_DIFFER and not name.startswith(_MAY_DIFFER_IN)
    }


def _trial(cell: Cell, seed: int, run: LoggedRun) -> Trial:
    task, _, target = cell
    name = TASKS[task].metric.name
    for needed in (name, f"baseline_{name}"):
        if needed not in run.metrics:
            raise UserError(f"run {run.run_id}: has no metric {needed}; delete it and run it again")
    claimed = _claimed(run)
    figures = {each: run.metrics[each] for each in (name, f"baseline_{name}")}
    for measured, value in {**figures, "epsilon": claimed}.items():
        if value is not None and not math.isfinite(value):
            raise UserError(f"run {run.run_id}: its {measured} is {value}; delete it and run it again")
    if math.isinf(target) != (claimed is None):
        said = "nothing" if claimed is None else f"epsilon {claimed:.4g}"
        raise UserError(f"run {run.run_id}: states {said} where privacy.epsilon={target:g}; delete it")
    if claimed is not None and claimed > target:
        raise UserError(
            f"run {run.run_id}: states epsilon {claimed!r}, more than its target {target!r}; delete it"
        )
    delta = None if claimed is None else _delta(run)
    seeded = claimed is not None and run.params.get("privacy.noise") != "secure"
    return Trial(
        cell=cell,
        seed=seed,
        value=run.metrics[name],
        baseline=run.metrics[f"baseline_{name}"],
        claimed=claimed,
        delta=delta,
        seeded_noise=seeded,
        all_spent=_all_spent(run.metrics),
        commit=run.tags.get("git_commit", "unknown"),
        run_id=run.run_id,
    )


def _claimed(run: LoggedRun) -> float | None:
    """Return the epsilon that a run states; None without.

    The tag is what holds, for no metric is infinite, but is rounded up: where it is the metric's, the metric
    is exact. Runs of earlier versions have no tag.
    """
    metric, said = run.metrics.get("epsilon"), run.tags.get("epsilon")
    if said is None or (metric is not None and at_most(metric, digits=6) == said):
        return metric
    try:
        return float(said)
    except ValueError:
        return math.nan


def _delta(run: LoggedRun) -> float:
    text = run.params.get("privacy.delta", "missing")
    try:
        delta = float(text)
    except ValueError:
        delta = math.nan
    if not 0.0 < delta < 1.0:
        raise UserError(
            f"run {run.run_id}: its privacy.delta is {text}, without which its epsilon means nothing; delete "
            "it and run it again"
        )
    return delta


def _all_spent(metrics: Mapping[str, float]) -> bool:
    # a cause is written only in rounds that have it, so its last value may be of an earlier round
    last = metrics.get("clients_replied") == 0.0 and metrics.get("clients_asked", 0.0) > 0.0
    return last and (
        metrics.get("clients_failed_budget_spent")
        == metrics.get("clients_failed")
        == metrics.get("clients_asked")
    )
