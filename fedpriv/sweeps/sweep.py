"""A sweep in the process that launched it: begun before its first job, ended after its last, or cut off."""

import contextlib
import logging
import sys
from collections import Counter
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

from omegaconf import DictConfig
from rich.console import Console
from rich.text import Text

from fedpriv.cores import available_cores
from fedpriv.errors import UserError
from fedpriv.sweeps import table
from fedpriv.sweeps.processes import Process, ending_first
from fedpriv.sweeps.progress import SweepProgress
from fedpriv.sweeps.record import SweepRecord
from fedpriv.sweeps.reports import Report, ReportFile
from fedpriv.sweeps.reuse import finished, of_run, said_jobs, said_killed, said_of_code, take
from fedpriv.sweeps.threads import jobs_at_once

log = logging.getLogger("fedpriv")

Kind = Literal["sweep", "search"]
_PATIENCE_S = 10.0
"""How long jobs in other processes may take to put their keys away when the sweep is interrupted."""


class Sweep:
    """One command's jobs.

    Attributes:
        parent: its run in MLflow; None without tracking.
        runs: the experiment's runs (:class:`fedpriv.tracking.sweeps.SweepRuns`); None without tracking.
        folder: where it writes.
        at_once: how many jobs run at the same time on this machine.
        reports: what its jobs have told last, by number; whole once it has ended.
        status: what the command exits with; None while it is under way.
    """

    def __init__(
        self,
        config: DictConfig,
        kind: Kind,
        key: str,
        name: str,
        keys: Mapping[int, str] | None,
        settings: Mapping[int, Sequence[str]],
        tracking: DictConfig | None = None,
        total: int | None = None,
        choices: Mapping[int, Mapping[str, str]] | None = None,
    ) -> None:
        """Make or reopen the parent and find what is done already; nothing is written on disk.

        Args:
            config: of the command, with Hydra's settings.
            kind: ``sweep`` or ``search``.
            key: what it computes: 32 hexadecimal digits.
            name: for people.
            keys: of the jobs, by number; None where they are not known before.
            settings: what varies, by job; may grow until the end.
            tracking: settings of all jobs; by default the command's.
            total: how many jobs there will be, where their keys are not known before.
            choices: of groups of the configuration, by job, where the jobs are known before.

        Raises:
            UserError: when the tracking store cannot be opened.
        """
        self.folder = Path(config.hydra.runtime.cwd, str(config.hydra.sweep.dir))
        self.status: int | None = None
        self.reports: dict[int, Report] = {}
        self.settings = settings
        self._keys, self._kind = keys, kind
        self._total = total = total if keys is None else len(keys)
        launcher = config.hydra.launcher
        self.at_once = jobs_at_once(launcher, total, available_cores())
        self._outlived = "Slurm" in str(launcher.get("_target_"))
        tracking = config.tracking if tracking is None else tracking
        self._tracking, self._experiment = tracking, str(tracking.experiment)
        self._progress: SweepProgress | None = None
        self._signals = contextlib.ExitStack()
        self.runs, self.parent = None, None
        if tracking.enabled:
            from fedpriv.tracking.sweeps import SweepRuns

            self.runs = SweepRuns.open(tracking.uri, self._experiment)
            given = (*config.hydra.overrides.hydra, *config.hydra.overrides.task)
            overrides = [str(each) for each in given if not str(each).startswith("hydra.mode=")]
            self.parent = self.runs.parent(kind, key, name, overrides, total)
            self._reuse(self.runs, self.parent, choices or {})

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to compute."""
        return self._keys is not None and len(self.reports) == len(self._keys)

    def launch(self) -> None:
        """Let jobs begin: what they must know is in the sweep's folder, and progress is shown from now on.

        Raises:
            UserError: when another sweep is under way in the folder.
        """
        self._lock = SweepRecord.take(self.folder)  # until this process ends
        if self.runs is not None and self.parent is not None:
            self.runs.tag(self.parent, "sweep_dir", str(self.folder))
        outlived = None if self._outlived else Process.own()
        uri = None if self.runs is None else self.runs.location.uri
        done = {str(number): asdict(report) for number, report in self.reports.items()}
        self._record = SweepRecord(self.parent, uri, self._experiment, self.at_once, outlived, done)
        self._record.write(self.folder)
        told = ReportFile(self.folder)
        told.clear()
        self._progress = SweepProgress(
            told, self._total, self.at_once, self.settings, Console(stderr=True), Console()
        )
        self._progress.latest |= self.reports
        self._progress.__enter__()
        if not self._outlived:
            self._signals.enter_context(ending_first(self._jobs_processes, _PATIENCE_S))

    def go_on_without(self, others: Container[int]) -> bool:
        """Let the jobs be FAILED whose process was killed, and those that have not ended be launched again.

        Args:
            others: processes that were killed because another was: their jobs are launched again.

        Returns:
            Whether there was such a job. Without one, the same launch would do the same.
        """
        told, latest = ReportFile(self.folder), self._latest()
        gone = [each for each in latest.values() if each.process is not None and not each.process.lives]
        # asked after that: who kills others has named them by then
        killed = [e for e in gone if e.state == "running" and e.process and e.process.pid not in others]
        for each in killed:
            latest[each.number] = report = said_killed(each.number, self.runs, self.parent)
            told.append(report)
        ended = {str(number): asdict(each) for number, each in latest.items() if each.state != "running"}
        self._record = replace(self._record, finished=self._record.finished | ended)
        self._record.write(self.folder)
        return bool(killed)

    def end(self, summary: Callable[[Console], None] | None = None) -> int:
        """Close the sweep after its last job: counts and table to MLflow and terminal, failures to stderr.

        Args:
            summary: prints the end of a search instead of the table of jobs.

        Returns:
            What the command exits with: 0, or 1 when a job failed.
        """
        self._stop()
        with contextlib.suppress(UserError):  # of a store that is gone, which closing will say
            self._find_missing()
        counts = Counter(table.state_of(self.reports.get(number)) for number in self._numbers())
        bad = {state: count for state, count in counts.items() if state not in ("finished", "pruned")}
        self.status = 1 if bad else 0
        console = Console()
        (summary or self._show)(console)
        console.print(Text(self._told(counts)), soft_wrap=True)
        for number in self._numbers():
            report = self.reports.get(number)
            if table.state_of(report) in bad:
                what = " ".join(self.settings.get(number, ()))
                why = "ended without a word; see its run.log" if report is None else report.reason or "killed"
                print(f"fedpriv: job {number} ({what}) failed: {why}", file=sys.stderr)  # noqa: T201
        try:
            self._close("FAILED" if bad else "FINISHED", counts)
        except UserError as error:  # the jobs' runs are there, and the command repeated ends it
            self.status = 1
            print(f"fedpriv: {self._kind} is not closed in MLflow: {error}", file=sys.stderr)  # noqa: T201
        return self.status

    def refuse(self) -> None:
        """Close a sweep that could not be launched."""
        self.status = 2
        with contextlib.suppress(UserError):
            self._close("FAILED", {})

    def interrupt(self, error: BaseException) -> None:
        """Close a sweep that was cut off: its unfinished jobs are KILLED in MLflow, and can be resumed."""
        self._stop()
        counts = Counter(table.state_of(self.reports[number]) for number in self.reports)
        wanted = isinstance(error, KeyboardInterrupt | SystemExit)
        try:
            if self.runs is not None and self.parent is not None:
                lost = [] if self._outlived else self.runs.members(self.parent)
                self.runs.end_lost(filter(self.runs.is_lost, lost), "killed: its sweep was interrupted")
            self._close("KILLED" if wanted else "FAILED", counts)
        except UserError as broken:
            print(f"fedpriv: {self._kind} is not closed in MLflow: {broken}", file=sys.stderr)  # noqa: T201
        self.status = 130 if wanted else 1
        first = next(iter(str(error).splitlines()), "")
        mistake = isinstance(error, UserError)
        why = f"ended: {first[:700]}" if mistake else f"ended by {type(error).__name__}: {first[:300]}"
        why = "interrupted" if wanted else why
        of = "" if self._keys is None else f" of {len(self._keys)}"
        mend = (
            "repeat the command to go on" if self.runs is not None else "without tracking nothing is reused"
        )
        done = counts["finished"] + counts["pruned"]
        print(f"fedpriv: {self._kind} {why}; {done}{of} jobs are done, {mend}", file=sys.stderr)  # noqa: T201

    def _numbers(self) -> list[int]:
        return sorted(self.reports if self._keys is None else self._keys)

    def _reuse(self, runs: Any, parent: str, choices: Mapping[int, Mapping[str, str]]) -> None:
        """Make members of what was finished before."""
        from fedpriv.tracking.provenance import git_commit
        from fedpriv.tracking.sweeps import Member

        used, lacking = [], 0
        for number, key in (self._keys or {}).items():
            known = runs.job_runs(key)
            if (run := finished(known, self._tracking)) is not None:
                member = Member(parent, number, key, choices.get(number, {}))
                self.reports[number] = take(runs, run, member, self._tracking)
                used.append(run)
            lacking += run is None and any(each.status == "FINISHED" for each in known)
        if lacking:
            log.warning("%d finished jobs are computed again, for their models were not logged", lacking)
        if (said := said_of_code(used, git_commit())) is not None:
            log.warning("%s", said)

    def _find_missing(self) -> None:
        """Ask MLflow for jobs whose last report is not here: files shared by machines can lose a line."""
        if self.runs is None:
            return
        for number, key in (self._keys or {}).items():
            report = self.reports.get(number)
            if report is None or report.state == "running":
                run = finished(self.runs.job_runs(key), self._tracking)
                if run is not None:
                    self.reports[number] = of_run(self.runs, number, run)

    def _close(self, status: str, counts: Mapping[str, int]) -> None:
        if self.runs is None or self.parent is None:
            return
        rows = table.rows({number: self.settings.get(number, ()) for number in self._numbers()}, self.reports)
        reused = sum(report.state == "reused" for report in self.reports.values())
        tags = {
            "sweep_finished": str(counts.get("finished", 0)),
            "sweep_failed": str(counts.get("failed", 0)),
            "sweep_skipped": str(reused),
        }
        files = {"sweep.md": table.as_markdown(rows), "sweep.csv": table.as_csv(rows)}
        self.runs.end_parent(self.parent, status, tags, files)

    def _show(self, console: Console) -> None:
        table.show(console, table.rows({n: self.settings.get(n, ()) for n in self._numbers()}, self.reports))

    def _told(self, counts: Mapping[str, int]) -> str:
        reused = sum(report.state == "reused" for report in self.reports.values())
        states = ", ".join(f"{count} {state}" for state, count in counts.items())
        where = "" if self.parent is None else f"; MLflow run {self.parent}"
        jobs = said_jobs(len(self._numbers()))
        return f"{jobs}: {states or 'none'} ({reused} reused){where}"

    def _stop(self) -> None:
        self._signals.close()
        if self._progress is not None:
            self._progress.__exit__()
            self.reports = self._progress.latest

    def _jobs_processes(self) -> list[Process]:
        """Return where jobs run that have not ended."""
        latest = self._latest().values()
        return [each.process for each in latest if each.state == "running" and each.process]

    def _latest(self) -> dict[int, Report]:
        """Return what each job has told last, as it is on disk."""
        return {report.number: report for report in ReportFile(self.folder).new()}


current: Sweep | None = None
"""The sweep of this process; there is one at most."""


def begin(begun: Sweep) -> Sweep:
    """Make it the sweep of this process. Jobs wait for :meth:`Sweep.launch`."""
    global current
    current = begun
    return begun
