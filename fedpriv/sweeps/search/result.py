"""What a search has found: the best trial or the Pareto front, what it cost, and what it does not say."""

import math
import shlex
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.text import Text

from fedpriv.comparison.drawing import Plot, rendered
from fedpriv.errors import UserError
from fedpriv.privacy.rounded import at_most
from fedpriv.sweeps import table
from fedpriv.sweeps.search.plots import plots_of
from fedpriv.sweeps.search.study import Study
from fedpriv.sweeps.search.trials import Told
from fedpriv.tracking.histories import add_files
from fedpriv.tracking.params import TAG_LENGTH
from fedpriv.tracking.secrets import hide_in_override, hide_in_text

Rows = list[dict[str, str]]
KINDS: tuple[Literal["png", "svg"], ...] = ("png", "svg")


@dataclass(frozen=True)
class Conclusion:
    """What is said at the end of a search.

    Attributes:
        heading: one line.
        best: rows of the best trial, or of the front.
        notes: one line each.
    """

    heading: str
    best: Rows
    notes: tuple[str, ...]

    def show(self, console: Console) -> None:
        """Print it."""
        console.print(Text(self.heading), soft_wrap=True)
        if self.best:
            table.show(console, _shortened(self.best))
        for note in self.notes:
            console.print(Text(note), soft_wrap=True)


def conclude(
    study: Study, runs: Any, parent: str, storage: str, command: Sequence[str], cut_off: bool = False
) -> Conclusion:
    """Write what the study has found to its run in MLflow, and return it.

    Tags ``search_study``, ``search_storage``, ``search_objectives`` and ``search_best`` (numbers of trials);
    artifacts ``study.md``, ``study.csv`` and plots, PNG and SVG.

    Args:
        study: whose trials have ended, or those of them that had before it was interrupted.
        runs: of the experiment (:class:`fedpriv.tracking.sweeps.SweepRuns`).
        parent: the search's run.
        storage: address of the study.
        command: overrides that all trials have.
        cut_off: say that the search was interrupted; what is written now is replaced when it is gone on with.
    """
    ended, best = study.ended, study.best
    hidden = hide_in_text(storage, ())
    counts = Counter(each.state for each in ended)
    states = ", ".join(f"{count} {state}" for state, count in counts.items()) or "none"
    heading = f"study {study.name} in {hidden}: {len(ended)} trials, {states}"
    if cut_off:
        heading += "; interrupted, the command repeated goes on with it"
    notes = (*_how(study, best, command), *_cost(_tags(study, runs, parent)))
    found = Conclusion(heading, rows(study, best), notes)
    tags = {
        "search_study": study.name,
        "search_storage": hidden,
        "search_objectives": ", ".join(f"{each.name}:{each.direction}" for each in study.objectives),
        "search_best": ", ".join(str(each.number) for each in best)[:TAG_LENGTH] or "none",
    }
    for name, text in tags.items():
        runs.tag(parent, name, text)
    with tempfile.TemporaryDirectory() as folder:
        all_rows = rows(study, ended)
        plots = plots_of(study)
        Path(folder, "study.md").write_text(_page(study, found, all_rows, plots))
        Path(folder, "study.csv").write_text(table.as_csv(all_rows))
        for plot in plots:
            for kind in KINDS:
                Path(folder, f"{plot.name}.{kind}").write_bytes(rendered(plot.figure, kind))
        try:
            add_files(runs.location.uri, parent, Path(folder), "")
        except UserError as error:
            return Conclusion(heading, found.best, (*notes, f"tables and plots are not in MLflow: {error}"))
    return found


def rows(study: Study, trials: Sequence[Told]) -> Rows:
    """Return one row for each trial: number, state, settings, objectives, epsilon, run and reason."""
    names = [each.name for each in study.objectives]
    found = []
    for each in trials:
        row = {"trial": str(each.number), "state": each.state}
        row |= dict(zip(each.params, (str(value) for value in each.params.values()), strict=True))
        values = each.values or (None,) * len(names)
        row |= {name: _digits(name, value) for name, value in zip(names, values, strict=True)}
        if "epsilon" not in names and each.report.epsilon is not None:
            row["epsilon"] = each.report.epsilon
        found.append(row | {"run": each.report.run_id or "", "reason": each.report.reason or ""})
    return found


def _digits(name: str, value: float | None) -> str:
    if value is None:
        return ""
    return at_most(value, digits=6) if name == "epsilon" else f"{value:.6g}"


def _shortened(found: Rows) -> Rows:
    """Name settings by their last part, where that names no other column."""
    names = list(dict.fromkeys(name for row in found for name in row))
    parts = Counter(name.rpartition(".")[2] for name in names)
    short = {name: last if parts[last := name.rpartition(".")[2]] == 1 else name for name in names}
    return [{short[name]: value for name, value in row.items()} for row in found]


def _how(study: Study, best: Sequence[Told], command: Sequence[str]) -> list[str]:
    """Say what of the figures is to be believed, and how to look again."""
    if not best:
        return ["no trial is complete: nothing is known of the best settings"]
    names = [each.name for each in study.objectives]
    if len(names) > 1:
        count = f"{len(best)} trial{'s are' if len(best) > 1 else ' is'}"
        return [
            f"{count} on the Pareto front of {', '.join(names)}: no other is at least as good in all and "
            "better in one. Chosen by figures that chance has part in: run them again with other seeds"
        ]
    settings = [*command, *study.space.settings(best[0].params)]
    others = [each for each in settings if each.partition("=")[0].lstrip("+") != "seed"]
    fresh = f"seed={_untried_seed(study, settings)}"
    again = shlex.join(["fedpriv", "run", *map(hide_in_override, others), fresh])
    complete = sum(each.state == "complete" for each in study.ended)
    if complete == 1:
        return [f"the only complete trial of {len(study.ended)}. Judge it by other seeds, e.g. {again}"]
    return [
        f"best of {complete} complete trials, and chosen by that figure: it flatters. Judge it by other "
        f"seeds, e.g. {again}"
    ]


def _untried_seed(study: Study, settings: Sequence[str]) -> int:
    """Return the smallest positive seed that no trial had."""
    tried = {str(each.params.get("seed")) for each in study.ended}
    tried |= {
        value for name, _, value in (each.partition("=") for each in settings) if name.lstrip("+") == "seed"
    }
    return next(seed for seed in count(1) if str(seed) not in tried)


def _tags(study: Study, runs: Any, parent: str) -> list[Mapping[str, str]]:
    """Return the tags of all runs of a study, those of earlier commands in other experiments among them.

    Of a run that the store does not have any more, what its trial told of it.
    """
    found = {run.run_id: run.tags for run in runs.members(parent)}
    for run_id, report in study.runs.items():
        if run_id in found:
            continue
        try:
            found[run_id] = runs.run(run_id).tags
        except UserError:
            found[run_id] = {"privacy_unit": "none" if report.epsilon is None else "not known"}
    return list(found.values())


def _cost(members: Sequence[Mapping[str, str]]) -> list[str]:
    """Say what a search on private data has cost that no trial's epsilon counts, by its runs' tags."""
    private = [tags for tags in members if tags.get("privacy_unit", "none") != "none"]
    if not private:
        return []
    together = [_number(tags) for tags in private]
    known = [each for each in together if each is not None]
    if len(known) == len(private):
        most = "∞" if math.isinf(max(known)) else at_most(max(known))
        spent = f"all runs on these images together have spent {most} (fedpriv privacy show)"
    else:
        spent = "what they have spent together is not counted for all of them (privacy.ledger)"
    return [
        f"privacy: an epsilon is of one trial's model alone. {len(private)} private trials were trained on "
        f"the same people, and {spent}. Choosing one by its figures is covered by no smaller epsilon than "
        "that of all trials together, towards those trained on; towards those it was judged on, by none. "
        "Less can be shown where the number of trials is drawn at random and none follows from another "
        "(Papernot and Steinke 2022, arXiv 2110.03620): a search does neither"
    ]


def _number(tags: Mapping[str, str]) -> float | None:
    try:
        return float(tags["lifetime_epsilon"])
    except (KeyError, ValueError):
        return None


def _page(study: Study, found: Conclusion, all_rows: Rows, plots: Sequence[Plot]) -> str:
    aims = "; ".join(f"{each.label}, {each.sense}" for each in study.objectives)
    title = "Pareto front" if len(study.objectives) > 1 else "Best trial"
    notes = "".join(f"\n{note}.\n" for note in found.notes)
    front = f"\n## {title}\n\n{table.as_markdown(found.best)}" if found.best else ""
    trials = f"\n## Trials\n\n{table.as_markdown(all_rows)}" if all_rows else ""
    drawn = "".join(f"- `{plot.name}.png`: {plot.title}. {plot.caption}\n" for plot in plots)
    pictures = f"\n## Plots\n\n{drawn}" if drawn else ""
    return f"# Search\n\n{found.heading}.\n\nObjectives: {aims}.\n{front}{notes}{trials}{pictures}"
