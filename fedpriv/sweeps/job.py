"""One job of a sweep: reused if it is done, gone on with if it was begun, else run; it fails alone."""

import logging
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from hydra.conf import HydraConf
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console

from fedpriv.config.schema import RunConfig
from fedpriv.errors import StaleCheckpoint, UserError
from fedpriv.results import RoundResult
from fedpriv.sweeps.guest import as_guest, logged_in
from fedpriv.sweeps.keys import job_key, plain_config
from fedpriv.sweeps.processes import Process
from fedpriv.sweeps.record import SweepRecord
from fedpriv.sweeps.reports import Report, ReportFile
from fedpriv.sweeps.reuse import chosen, finished, gives, of_run, register, take

log = logging.getLogger("fedpriv")

OnRound = Callable[[RoundResult], None]


class Pruned(Exception):
    """Raised by ``on_round``: the run is not worth going on with."""


def run_job(
    config: DictConfig | RunConfig,
    settings: HydraConf,
    console: Console | None = None,
    on_round: OnRound | None = None,
) -> Report:
    """Do one job of a sweep that was launched (:mod:`fedpriv.sweeps.sweep`), in any process of any machine.

    A run of the experiment that has finished with the job's key is reused, and nothing computed. One that
    was interrupted is gone on with after its last finished round, where its checkpoint is still there. The
    same job in two processes is run by one; the other waits, and reuses it.

    Guarantee:
        - What goes wrong is the job's: its run in MLflow is FAILED and names the reason, and the sweep goes
          on. Only Ctrl-C and SIGTERM are passed on.
        - Signal handlers, the share of cores and the console's log level are put back: the process may be
          given another job.

    Args:
        config: the job's, as composed.
        settings: Hydra's for this job.
        console: where the run's final table goes; None prints none.
        on_round: hears of every round that is trained now; :class:`Pruned` ends the run as ``pruned``.

    Returns:
        How the job ended; it is in the sweep's reports, too.
    """
    folder = Path(settings.runtime.cwd, str(settings.sweep.dir))
    record, number = SweepRecord.read(folder), int(settings.job.num)
    if (known := record.finished.get(str(number))) is not None:
        return Report(**known)
    reports, began = ReportFile(folder), time.monotonic()
    with as_guest(record) as asked_to_end:

        def heard(result: RoundResult) -> None:
            if asked_to_end.is_set():  # what a signal raises inside of a finaliser is lost
                sys.exit(143)
            if on_round is not None:
                on_round(result)

        reports.append(Report(number, "running", process=Process.own()))
        try:
            report = _Job(config, settings, record, console, heard).do()
        except Exception as error:  # of the store, or before the job has its key
            report = failed(number, error)
        report = replace(report, seconds=time.monotonic() - began)
        if report.state == "failed":
            log.info("job %d failed: %s", number, report.reason)
        reports.append(report)
    return report


def failed(number: int, error: Exception) -> Report:
    """Return the report of a job that ended by ``error``."""
    first = next(iter(str(error).splitlines()), "")
    mistake = isinstance(error, UserError | OmegaConfBaseException)
    if not mistake:
        log.info("the job failed", exc_info=error)
    return Report(number, "failed", reason=first if mistake else f"{type(error).__name__}: {first}")


class _Job:
    """One job: what is known of it, and what is done about that."""

    def __init__(
        self,
        config: DictConfig | RunConfig,
        settings: HydraConf,
        record: SweepRecord,
        console: Console | None,
        on_round: OnRound,
    ) -> None:
        self._config, self._record, self._console = cast(RunConfig, config), record, console
        self._overrides = [str(each) for each in settings.overrides.task]
        self._choices = chosen(self._overrides, getattr(settings.runtime, "choices", None) or {})
        self._output = Path(str(settings.runtime.output_dir))
        self._number, self._on_round = int(settings.job.num), on_round

    def do(self) -> Report:
        """See :func:`run_job`."""
        if self._record.parent is None:
            return self._attempt(None)
        from fedpriv.tracking.sweeps import Member, SweepRuns

        self._require_same_store()
        runs = SweepRuns.open(self._record.uri, self._record.experiment)
        tracking = self._config.tracking
        member = Member(self._record.parent, self._number, job_key(self._config), self._choices)
        with runs.lock(member.key):
            known = runs.job_runs(member.key)
            if (done := finished(known, tracking)) is not None:
                log.info("is finished: MLflow run %s in %s", done.run_id, done.tags.get("log_dir"))
                return take(runs, done, member, tracking)
            for run in known:
                if run.status == "FINISHED" or not gives(run, tracking):
                    continue
                begun = Path(run.tags.get("log_dir", ""))
                if not can_resume(begun, member.key, run.run_id):
                    continue
                if (busy := _busy(begun)) is not None:  # by `fedpriv resume`, which asks nobody
                    return replace(failed(self._number, busy), run_id=run.run_id)
                rest = [each for each in known if each is not run]
                runs.replace(rest, member.parent)
                runs.join(run.run_id, member)
                try:
                    report = self._attempt(runs, member, begun, run.run_id)
                    if report.state == "finished":
                        register(runs, run.run_id, tracking)  # it began without being asked to
                    return report
                except StaleCheckpoint as error:
                    log.warning("%s: it is computed anew", error)
                    break
            runs.replace(known, member.parent)
            return self._attempt(runs, member)

    def _attempt(
        self, runs: Any, member: Any = None, begun: Path | None = None, run_id: str | None = None
    ) -> Report:
        """Run, or go on with what was ``begun``; ``runs`` and ``member`` are None without tracking."""
        from fedpriv.runner import resume, run
        from fedpriv.watch import Part

        tracked = {} if member is None else {"parent_run_id": member.parent, "tags": member.tags}
        part = Part(on_round=self._on_round, shown=False, **tracked)
        try:
            if begun is None:
                done = run(self._config, self._overrides, self._output, self._console, part)
            else:
                log.info("goes on in %s", begun)
                with nullcontext() if begun == self._output else logged_in(begun):
                    done = resume(begun, self._console, part)
        except StaleCheckpoint:
            raise
        except Exception as error:
            pruned = isinstance(error, Pruned)
            report = replace(
                failed(self._number, error),
                state="pruned" if pruned else "failed",
                refused=isinstance(error, UserError),
            )
            return report if runs is None else self._say_failed(runs, member, report, run_id)
        if runs is not None and done.mlflow_run_id is not None:
            return replace(of_run(runs, self._number, runs.run(done.mlflow_run_id)), state="finished")
        last = done.history[-1]
        epsilon = None if last.epsilon is None else f"{last.epsilon:.6g}"
        return Report(self._number, "finished", done.metric, last.metrics.get(done.metric), epsilon)

    def _say_failed(self, runs: Any, member: Any, report: Report, run_id: str | None) -> Report:
        """Make sure that MLflow has a run of this job that says how it ended."""
        known = [run for run in runs.job_runs(member.key) if run_id in (None, run.run_id)]
        of_sweep = [run for run in known if f"sweep.{member.parent}" in run.tags]
        if not of_sweep:
            name = self._config.tracking.run_name or f"job {self._number}"
            plain = plain_config(self._config)
            made = runs.refused(member, name, report.reason, plain, self._overrides, self._output)
            return replace(report, run_id=made)
        run = of_sweep[0]
        if report.state == "pruned":
            runs.end(run.run_id, "KILLED", report.reason)
        elif run.status != "FAILED":
            runs.end(run.run_id, "FAILED", report.reason)
        return replace(
            of_run(runs, self._number, run), state=report.state, reason=report.reason, refused=False
        )

    def _require_same_store(self) -> None:
        tracking, record = self._config.tracking, self._record
        from fedpriv.tracking.store import locate

        if not tracking.enabled or tracking.experiment != record.experiment:
            raise UserError(
                f"tracking.experiment={tracking.experiment if tracking.enabled else 'none'}: a sweep is kept "
                f"in one experiment, and this one in {record.experiment}; sweep over something else"
            )
        if locate(tracking.uri).uri != record.uri:
            raise UserError("tracking.uri: a sweep is kept in one place; sweep over something else")


def can_resume(folder: Path, key: str, run_id: str) -> bool:
    """Tell whether a run's output folder holds what to go on from: of this job, and of this run in MLflow."""
    if not folder.is_absolute() or not (folder / "checkpoint").is_dir():
        return False
    from fedpriv.checkpoint import Checkpoint

    try:
        record = Checkpoint(folder).record()
        same = job_key(OmegaConf.create(record.config)) == key
    except (UserError, OmegaConfBaseException, ValueError, TypeError, KeyError):
        return False
    return same and record.mlflow_run_id in (None, run_id)


def _busy(folder: Path) -> UserError | None:
    """Return what is said of a run's folder that a living process works in; None where none does."""
    from fedpriv.checkpoint import Checkpoint

    try:
        with Checkpoint(folder).held():
            return None
    except UserError as error:
        return error
