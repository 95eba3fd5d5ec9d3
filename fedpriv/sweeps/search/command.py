"""One command of a search: asks the study for trials, has them run, and tells it what they found."""

import contextlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, cast

from hydra.core.config_loader import ConfigLoader
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig
from rich.console import Console

from fedpriv.config.instantiate import instantiate
from fedpriv.errors import UserError
from fedpriv.sweeps import sweep
from fedpriv.sweeps.keys import job_key, sweep_key
from fedpriv.sweeps.reports import Report, ReportFile, State
from fedpriv.sweeps.search.objectives import Lacking, Unmeasured, read_objectives, values_of
from fedpriv.sweeps.search.possible import Possible
from fedpriv.sweeps.search.pruning import SearchRecord
from fedpriv.sweeps.search.result import Conclusion, conclude
from fedpriv.sweeps.search.settings import Settings
from fedpriv.sweeps.search.space import read_space
from fedpriv.sweeps.search.storage import place
from fedpriv.sweeps.search.study import Study, open_study
from fedpriv.sweeps.search.trials import Told, Trial
from fedpriv.tasks.base import Task
from fedpriv.tracking.store import locate

ROUNDS = "federation.rounds"


def search(
    config: DictConfig,
    loader: ConfigLoader,
    launcher: Launcher,
    given: Mapping[str, Any],
    arguments: Sequence[str],
) -> None:
    """Run the trials that a study lacks.

    Args:
        config: of the command, with Hydra's settings.
        loader: of configurations.
        launcher: of jobs.
        given: settings as composed, with ``params``.
        arguments: the command line without Hydra's own overrides.

    Raises:
        UserError: when nothing can be searched.
        HydraException: when the configuration cannot be composed.
    """
    settings = Settings.of(given)
    space = read_space(given["params"], arguments, loader)
    base = loader.load_sweep_config(config, list(space.fixed))
    if not base.tracking.enabled:
        raise UserError(
            "tracking=none: a search reads from MLflow what its trials found; use tracking=mlflow"
        )
    if settings.pruner == "hyperband" and ROUNDS in space.searched:
        raise UserError(
            f"hydra.sweeper.pruner.name=hyperband: shares out rounds, which {ROUNDS} varies; choose median "
            "or none, or search something else"
        )
    task = cast(Task, instantiate("task", base.task, kind=Task))
    objectives = read_objectives(settings.objectives, task.metric)
    location = place(settings.storage, locate(base.tracking.uri))
    rounds = int(base.federation.rounds)
    with open_study(location, job_key(base), space, objectives, settings, rounds) as study:
        if not study.ended:
            Possible(config, loader, space).require()
        _Command(config, loader, launcher, settings, study, base, location.uri).run(rounds)


class _Command:
    def __init__(
        self,
        config: DictConfig,
        loader: ConfigLoader,
        launcher: Launcher,
        settings: Settings,
        study: Study,
        base: DictConfig,
        storage: str,
    ) -> None:
        self._config, self._loader, self._launcher = config, loader, launcher
        self._settings, self._study, self._base, self._storage = settings, study, base, storage
        self._shown: dict[int, Sequence[str]] = {}
        earlier = [each for each in study.ended if each.number not in study.again]
        for each in earlier:
            self._shown[each.number] = study.space.settings(each.params)
        self._sweep = sweep.begin(
            sweep.Sweep(
                config,
                "search",
                sweep_key("search", [study.name, storage]),
                study.name,
                None,
                self._shown,
                base.tracking,
                total=settings.n_trials,
            )
        )
        self._sweep.reports |= {each.number: _known(each.report) for each in earlier}
        self._runs, self._told = cast(Any, self._sweep.runs), ReportFile(self._sweep.folder)
        self._latest: dict[int, Report] = {}
        self._under_way: Sequence[Trial] = ()
        self._unmeasured: Unmeasured | None = None
        self._asked = Possible(config, loader, study.space)

    def run(self, rounds: int) -> None:
        """See :func:`search`."""
        size, total = self._settings.n_jobs or self._sweep.at_once, self._settings.n_trials
        again = len(self._study.again)
        batch = self._study.batch(size, total)
        if batch:
            self._announce(again)
            self._sweep.launch()
            self._prepare(rounds)
        try:
            while batch:
                self._do(batch)
                batch = self._study.batch(size, total)
        except Unmeasured as error:
            self._sweep.interrupt(error)
            self._sweep.status = 2
            sys.exit(2)
        except (KeyboardInterrupt, SystemExit) as error:
            self._sweep.interrupt(error)  # first: who asks to end may not wait for tables and plots
            self._say_so_far()
            raise
        self._sweep.end(self._conclude().show)

    def _conclude(self, cut_off: bool = False) -> Conclusion:
        command, parent = list(self._study.space.fixed), cast(str, self._sweep.parent)
        return conclude(self._study, self._runs, parent, self._storage, command, cut_off)

    def _say_so_far(self) -> None:
        """Tell the study what was done in the batch that was cut off, and conclude from what there is."""
        try:
            ended = {each.number for each in self._study.ended}
            self._read()
            for trial in self._under_way:
                report = self._latest.get(trial.number)
                if trial.number not in ended and report is not None:
                    with contextlib.suppress(UserError):  # it is looked at again when the command is repeated
                        self._tell_if_done(trial, report)
            if self._study.ended:
                self._conclude(cut_off=True).show(Console())
        except Exception as error:  # what a signal has cut off may be broken in many ways
            first = next(iter(str(error).splitlines()), "")
            why = first if isinstance(error, UserError) else f"{type(error).__name__}: {first[:300]}"
            print(f"fedpriv: tables and plots so far are not in MLflow: {why}", file=sys.stderr)  # noqa: T201

    def _announce(self, again: int) -> None:
        if self._settings.pruner != "none" and len(self._study.objectives) > 1:
            print(  # noqa: T201
                f"hydra.sweeper.pruner={self._settings.pruner}: with several objectives Optuna prunes none; "
                "every trial runs to its end"
            )
        if again:
            trials = "trial that failed is" if again == 1 else "trials that failed are"
            print(f"{again} {trials} tried again")  # noqa: T201

    def _prepare(self, rounds: int) -> None:
        """Say in the sweep's folder, which an earlier search may have had, what jobs are pruned by."""
        objectives, folder = self._study.objectives, self._sweep.folder
        if self._settings.pruner == "none" or len(objectives) > 1:
            SearchRecord.remove(folder)
            return
        parent = cast(str, self._sweep.parent)
        SearchRecord(self._storage, self._study.name, objectives[0].name, rounds, parent).write(folder)

    def _do(self, batch: Sequence[Trial]) -> None:
        """Run a batch; trials of the same settings are computed once."""
        later: list[Trial] = []
        first: list[Trial] = []
        for trial in batch:
            self._shown[trial.number] = self._study.space.settings(trial.params)
            same = [each for each in first if each.params == trial.params]
            if same or self._study.twin(trial) is not None:
                later.append(trial)
            elif (why := self._asked.refused(trial.params)) is not None:
                self._end(trial, Report(trial.number, "failed", reason=why, refused=True))
            else:
                first.append(trial)
        for trials in _consecutive(first):
            self._under_way = trials
            jobs = [self._study.space.overrides(trial.params) for trial in trials]
            results = self._launcher.launch(jobs, initial_job_idx=trials[0].number)
            self._read()
            for trial, result in zip(trials, results, strict=True):
                self._settle(trial, self._latest.get(trial.number), result)
            if self._unmeasured is not None:
                raise self._unmeasured
        for trial in later:
            twin = self._study.twin(trial)
            if twin is None:  # its first one failed
                firsts = [each.report for each in self._study.ended if each.params == trial.params]
                refused = any(each.refused for each in firsts)
                reason = "as an earlier trial of the same settings"
                self._end(trial, Report(trial.number, "failed", reason=reason, refused=refused))
            else:
                state: State = "pruned" if twin.state == "pruned" else "reused"
                reason = f"the same settings as trial {twin.number}"
                report = replace(twin.report, number=trial.number, state=state, reason=reason, seconds=0.0)
                self._end(trial, report, twin.values or None)

    def _read(self) -> None:
        for report in self._told.new():
            self._latest[report.number] = report

    def _settle(self, trial: Trial, report: Report | None, result: Any) -> None:
        """Tell the study how a job ended."""
        if report is None or report.state == "running":
            error = getattr(result, "_return_value", None)
            first = next(iter(str(error).splitlines()), "") if isinstance(error, BaseException) else ""
            why = f"ended without a word; see its run.log. {first}".strip()
            self._end(trial, Report(trial.number, "failed", reason=why))
            return
        values = None
        if report.state in ("finished", "reused") and report.run_id is not None:
            try:
                values = self._values(report.run_id)
            except UserError as error:
                lacking = isinstance(error, Lacking)
                why = str(error).partition(";")[0] if lacking else str(error)
                report = replace(report, state="failed", reason=why, refused=lacking)
                if isinstance(error, Unmeasured) and not self._study.asked_once():
                    self._unmeasured = error
        elif report.refused and self._asked.possible(
            trial.params
        ):  # by a store that did not answer, or a ledger
            report = replace(report, refused=False)
        self._tag(self._study.tell(trial, report, values))
        if report != self._latest.get(trial.number):
            self._told.append(report)

    def _tell_if_done(self, trial: Trial, report: Report) -> None:
        if report.state == "pruned":
            self._tag(self._study.tell(trial, report))
        elif report.state in ("finished", "reused") and report.run_id is not None:
            self._tag(self._study.tell(trial, report, self._values(report.run_id)))

    def _values(self, run_id: str) -> list[float]:
        return values_of(self._study.objectives, self._runs.location.uri, self._runs.run(run_id))

    def _end(self, trial: Trial, report: Report, values: Sequence[float] | None = None) -> None:
        """End a trial that no job was run for."""
        self._study.tell(trial, report, values)
        self._told.append(report)

    def _tag(self, told: Told) -> None:
        if told.report.run_id is not None:
            self._runs.tag(told.report.run_id, "search_number", str(told.number))
            self._runs.tag(told.report.run_id, "search_state", told.state)


def _consecutive(trials: Sequence[Trial]) -> list[list[Trial]]:
    """Cut trials where numbers are missing: launchers number jobs one after the other."""
    parts = [[each] for each in trials[:1]]
    for before, each in pairwise(trials):
        if each.number == before.number + 1:
            parts[-1].append(each)
        else:
            parts.append([each])
    return parts


def _known(report: Report) -> Report:
    return replace(report, state="reused") if report.state == "finished" else report
