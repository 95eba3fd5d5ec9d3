"""From a store to a comparison."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from fedpriv.comparison.comparison import Comparison, compare
from fedpriv.comparison.judged import judged_in
from fedpriv.comparison.selection import select
from fedpriv.comparison.text import shown
from fedpriv.comparison.trials import trial_of, wanted_curves
from fedpriv.tracking.histories import curves_of
from fedpriv.tracking.queries import runs_of


@dataclass(frozen=True)
class Question:
    """What is asked.

    Attributes:
        uri: of the store, as :func:`fedpriv.tracking.store.locate` takes it.
        experiment: name.
        names: of sweeps or runs, or ids; see :func:`fedpriv.comparison.selection.select`.
        tags: that runs must have.
        wanted: filter in MLflow's syntax, empty for none.
        metrics: names; none takes what the runs are judged by.
        lower_is_better: of metrics of which nothing says it.
        against: see :func:`fedpriv.comparison.comparison.compare`.
        command: that asks.
    """

    uri: str | None
    experiment: str
    names: Sequence[str] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    wanted: str = ""
    metrics: Sequence[str] = ()
    lower_is_better: bool | None = None
    against: Mapping[str, str] = field(default_factory=dict)
    command: str = "fedpriv compare"


def answer(question: Question) -> tuple[Comparison, list[str]]:
    """Compare what is asked for.

    Returns:
        (comparison, ids of the sweeps whose runs were compared).

    Raises:
        UserError: when the store does not answer, there is nothing to compare, or a wish makes no sense.
    """
    runs = runs_of(question.uri, question.experiment)
    among = None
    if question.wanted:
        among = {run.run_id for run in runs_of(question.uri, question.experiment, question.wanted)}
    chosen = select(runs, question.names, question.tags, among)
    metrics = judged_in(chosen.runs, question.metrics, question.lower_is_better)
    curves = curves_of(question.uri, {run.run_id: wanted_curves(run, metrics) for run in chosen.runs})
    trials = [trial_of(run, metrics, curves[run.run_id]) for run in chosen.runs]
    names = ", ".join(shown(sweep.name or sweep.run_id, 60) for sweep in chosen.sweeps)
    title = f"{shown(question.experiment, 60)}: {names or f'{len(trials)} runs'}"
    found = compare(trials, metrics, question.against, title, question.command, chosen.notes)
    return found, [sweep.run_id for sweep in chosen.sweeps]
