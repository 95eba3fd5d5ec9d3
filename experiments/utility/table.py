"""Trials as rows: mean and deviation over seeds, as CSV and as Markdown."""

import csv
import io
import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields

from experiments.utility.trials import LEVELS, TASKS, Cell, Trial


@dataclass(frozen=True)
class Row:
    """One cell of the table.

    Attributes:
        task: name of the task.
        level: ``sample``: an image is protected; ``client``: all that a client holds.
        epsilon: target of the whole run; ``inf`` without privacy.
        delta: that it is stated at; None without privacy.
        metric: name of what was measured.
        mean: over seeds.
        deviation: sample standard deviation over seeds (divisor n - 1); None for one seed.
        n: seeds.
        baseline: mean over the same seeds of what needs no learning.
        claimed: largest epsilon that any of the runs states of itself; None without privacy.
        noise: ``none``; ``secure``; ``seeded``, which protects nobody, if that of any run is.
    """

    task: str
    level: str
    epsilon: float
    delta: float | None
    metric: str
    mean: float
    deviation: float | None
    n: int
    baseline: float
    claimed: float | None
    noise: str


def rows_of(trials: Sequence[Trial]) -> list[Row]:
    """Return a row per task, level and epsilon, in that order; cells without a trial have none."""
    cells: dict[Cell, list[Trial]] = {}
    for trial in trials:
        cells.setdefault(trial.cell, []).append(trial)
    order = sorted(cells, key=lambda cell: (list(TASKS).index(cell[0]), LEVELS.index(cell[1]), cell[2]))
    return [_row(cell, cells[cell]) for cell in order]


def to_csv(rows: Sequence[Row], notes: Sequence[str] = ()) -> str:
    """Return the rows with all digits, one line each after the names; empty where there is no value.

    The last column, ``note``, holds all ``notes`` in every line, so that no line is read without them.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*(field.name for field in fields(Row)), "note"])
    for row in rows:
        values = ["" if value is None else value for value in asdict(row).values()]
        writer.writerow([*values, " | ".join(notes)])
    return text.getvalue()


def to_markdown(rows: Sequence[Row], notes: Sequence[str] = ()) -> str:
    """Return a Markdown table: a line per task and level, a column per epsilon, mean ± deviation.

    A cell of another number of runs than the most says so. Below stand the delta and all ``notes``.
    """
    epsilons = sorted({row.epsilon for row in rows})
    most = max((row.n for row in rows), default=0)
    heads = ["ε = ∞ (no privacy)" if math.isinf(eps) else f"ε = {eps:g}" for eps in epsilons]
    lines = [
        "| task | protected | without learning | " + " | ".join(heads) + " |",
        "|---|---|" + "---:|" * (len(epsilons) + 1),
    ]
    for task, level in dict.fromkeys((row.task, row.level) for row in rows):
        here = {row.epsilon: row for row in rows if (row.task, row.level) == (task, level)}
        spec = TASKS[task].metric
        name = f"{task}: {spec.label}, {'lower' if spec.lower_is_better else 'higher'} is better"
        unit = {"sample": "an image", "client": "a client"}[level]
        baseline = statistics.fmean(row.baseline for row in here.values())
        cells = [_cell(here.get(eps), most, _digits(task)) for eps in epsilons]
        lines.append(f"| {name} | {unit} | {baseline:.{_digits(task)}f} | " + " | ".join(cells) + " |")
    deltas = sorted({row.delta for row in rows if row.delta is not None})
    at = ", ".join(f"{delta:g}" for delta in deltas)
    stated = [f"ε is of the whole run, at δ = {at}."] if deltas else []
    return "\n\n".join(["\n".join(lines), *stated, *notes]) + "\n"


def _row(cell: Cell, trials: Sequence[Trial]) -> Row:
    task, level, epsilon = cell
    values = [trial.value for trial in trials]
    claims = [trial.claimed for trial in trials if trial.claimed is not None]
    deltas = [trial.delta for trial in trials if trial.delta is not None]
    return Row(
        task=task,
        level=level,
        epsilon=epsilon,
        delta=max(deltas, default=None),
        metric=TASKS[task].metric.name,
        mean=statistics.fmean(values),
        deviation=statistics.stdev(values) if len(values) > 1 else None,
        n=len(values),
        baseline=statistics.fmean(trial.baseline for trial in trials),
        claimed=max(claims, default=None),
        noise=_noise(trials),
    )


def _noise(trials: Sequence[Trial]) -> str:
    if any(trial.seeded_noise for trial in trials):
        return "seeded"
    return "none" if all(trial.claimed is None for trial in trials) else "secure"


def _digits(task: str) -> int:
    return 2 if TASKS[task].metric.lower_is_better else 3  # degrees, or shares from 0 to 1


def _cell(row: Row | None, most: int, digits: int) -> str:
    if row is None:
        return "missing"
    spread = "" if row.deviation is None else f" ± {row.deviation:.{digits}f}"
    return f"{row.mean:.{digits}f}{spread}" + ("" if row.n == most else f" (n = {row.n})")
