"""A sweep in MLflow: its parent run, the runs of its jobs, and who may compute a job now."""

import shlex
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from mlflow.entities import Param, Run, RunTag
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from fedpriv.errors import UserError
from fedpriv.tracking.job_lock import is_free, job_lock, plain_key
from fedpriv.tracking.params import TAG_LENGTH, batches, clean_name, cut, flatten
from fedpriv.tracking.provenance import git_commit, library_versions
from fedpriv.tracking.queries import LoggedRun, logged
from fedpriv.tracking.quiet import quiet_mlflow
from fedpriv.tracking.secrets import hide_in_override, hide_in_text, hide_secrets
from fedpriv.tracking.store import Location, locate, open_experiment, require_sqlite
from fedpriv.uninterrupted import uninterrupted

Kind = Literal["sweep", "search"]

JOB_KEY = "job_key"
"""Tag of a job's run: what it computes, see :func:`fedpriv.sweeps.keys.job_key`."""
CHOICE = "choice."
"""Tag of a job's run, with a group of the configuration: which of its choices the command named."""
_SWEEP_KEY, _KIND, _PARENT, _REFUSED = "sweep_key", "fedpriv_kind", "mlflow.parentRunId", "refused"
_MOST_RUNS = 1000


def member_tag(parent: str) -> str:
    """Return the name of the tag that every member of a sweep has: its value is the job's number there."""
    return f"sweep.{parent}"


@dataclass(frozen=True)
class Member:
    """What the run of a job is given: its place in a sweep.

    Attributes:
        parent: the sweep's run.
        number: of the job in it.
        key: of the job.
        choices: of groups of the configuration, by group: what people call the job's settings.
    """

    parent: str
    number: int
    key: str
    choices: Mapping[str, str] = field(default_factory=dict)

    @property
    def tags(self) -> dict[str, str]:
        """The tags that say so."""
        named = {
            clean_name(f"{CHOICE}{group}"): cut(name, TAG_LENGTH) for group, name in self.choices.items()
        }
        return {JOB_KEY: self.key, member_tag(self.parent): str(self.number), **named}


class SweepRuns:
    """The runs of one experiment, as sweeps see them.

    Guarantee:
        Any number of processes may open it at the same moment on a fresh SQLite file.
        Two processes that open the same sweep at the same moment get the same parent.
    """

    def __init__(self, location: Location, experiment: str) -> None:
        """Open the experiment, and make it where it is missing.

        Raises:
            UserError: see :func:`fedpriv.tracking.store.open_experiment`.
        """
        self.location, self.experiment = location, experiment
        self._client, self._id = open_experiment(location, experiment)

    @classmethod
    def open(cls, uri: str | None, experiment: str) -> "SweepRuns":
        """Open the experiment at an address as :func:`fedpriv.tracking.store.locate` takes it."""
        return cls(locate(uri), experiment)

    def parent(self, kind: Kind, key: str, name: str, overrides: Iterable[str], jobs: int | None) -> str:
        """Return the run of the sweep with this ``key``: made, or reopened when the command is repeated.

        Args:
            kind: ``sweep``, or ``search`` where the jobs follow from each other.
            key: letters and digits; what the sweep computes.
            name: for people.
            overrides: the command line.
            jobs: how many; None for a search.
        """
        tags = {
            _KIND: kind,
            _SWEEP_KEY: key,
            "overrides": shlex.join(hide_in_override(text) for text in overrides),
            "git_commit": git_commit(),
            **library_versions(),
            **({} if jobs is None else {"sweep_jobs": str(jobs)}),
        }
        tags = {tag: cut(hide_in_text(text, ()), TAG_LENGTH) for tag, text in tags.items()}
        with self.lock(key), self._reached():
            found = self._search(f"tags.{_SWEEP_KEY} = '{plain_key(key)}' and tags.{_KIND} = '{kind}'")
            if not found:
                return str(self._client.create_run(self._id, tags=tags, run_name=name).info.run_id)
            run = found[0]
            self._client.update_run(run.info.run_id, status="RUNNING")
            self._client.log_batch(run.info.run_id, tags=[RunTag(*tag) for tag in tags.items()])
            self._forget(run, ("failure",))
            return str(run.info.run_id)

    def end_parent(self, parent: str, status: str, tags: Mapping[str, str], files: Mapping[str, str]) -> None:
        """End the parent's run with its counts as tags and its tables as artifacts.

        Args:
            parent: the run.
            status: ``FINISHED``, ``FAILED`` or ``KILLED``.
            tags: to write.
            files: text by file name.
        """
        with uninterrupted(), self._reached():
            texts = [RunTag(tag, cut(hide_in_text(text, ()), TAG_LENGTH)) for tag, text in tags.items()]
            self._client.log_batch(parent, tags=texts)
            for name, text in files.items():
                self._client.log_text(parent, text, name)
            self._client.set_terminated(parent, status)

    def job_runs(self, key: str) -> list[LoggedRun]:
        """Return the runs of a job: a finished one first, then the newest first."""
        found = self._search(f"tags.{JOB_KEY} = '{plain_key(key)}'")
        return sorted(map(logged, found), key=lambda run: run.status != "FINISHED")

    def members(self, parent: str) -> list[LoggedRun]:
        """Return the runs of all jobs of a sweep, those among them that earlier sweeps have computed."""
        return [logged(run) for run in self._search(f"tags.`{member_tag(plain_key(parent))}` LIKE '%'")]

    def run(self, run_id: str) -> LoggedRun:
        """Return one run as it is now."""
        with self._reached():
            return logged(self._client.get_run(run_id))

    def join(self, run_id: str, member: Member) -> None:
        """Make a run a member of a sweep: one that has it already, or is to be gone on with."""
        with uninterrupted(), self._reached():
            self._client.log_batch(run_id, tags=[RunTag(*tag) for tag in member.tags.items()])

    def tag(self, run_id: str, name: str, text: str) -> None:
        """Set a tag of a run."""
        with uninterrupted(), self._reached():
            self._client.set_tag(run_id, name, cut(hide_in_text(text, ()), TAG_LENGTH))

    def end(self, run_id: str, status: str, reason: str) -> None:
        """End a run with the reason as its tag ``failure``."""
        self.tag(run_id, "failure", reason)
        with uninterrupted(), self._reached():
            self._client.set_terminated(run_id, status)

    def end_lost(self, runs: Iterable[LoggedRun], reason: str) -> None:
        """Mark as KILLED what is still under way of ``runs``, whose processes the caller knows to be gone."""
        for run in runs:
            if run.status in ("RUNNING", "SCHEDULED"):
                self.end(run.run_id, "KILLED", reason)

    def replace(self, runs: Iterable[LoggedRun], parent: str) -> None:
        """Take out of a sweep the runs of a job that is about to be computed anew.

        One that never began is deleted; what another has measured stays, outside of the sweep.
        """
        runs = list(runs)
        self.end_lost(runs, "killed; it was computed anew")
        for run in runs:
            with uninterrupted(), self._reached():
                if _REFUSED in run.tags:
                    self._client.delete_run(run.run_id)
                elif member_tag(parent) in run.tags:
                    self._client.delete_tag(run.run_id, member_tag(parent))

    def refused(
        self,
        member: Member,
        name: str,
        reason: str,
        config: Mapping[str, Any],
        overrides: Iterable[str],
        log_dir: Path,
    ) -> str:
        """Make the run of a job that failed before it had one: FAILED, with its settings and the reason."""
        plain, secrets = hide_secrets(config)
        tags = {
            **member.tags,
            _PARENT: member.parent,
            _REFUSED: "before training began",
            "failure": hide_in_text(reason, secrets),
            "overrides": shlex.join(hide_in_override(text, secrets) for text in overrides),
            "seed": str(plain.get("seed")),
            "log_dir": str(log_dir),
            "git_commit": git_commit(),
            **library_versions(),
        }
        safe = {tag: cut(text, TAG_LENGTH) for tag, text in tags.items()}
        with uninterrupted(), self._reached():
            run_id = str(self._client.create_run(self._id, tags=safe, run_name=name).info.run_id)
            for batch in batches([Param(key, value) for key, value in flatten(plain).items()]):
                self._client.log_batch(run_id, params=batch)
            self._client.set_terminated(run_id, "FAILED")
        return run_id

    def lock(self, key: str) -> AbstractContextManager[None]:
        """Let one process at a time have this job (or sweep): :func:`fedpriv.tracking.job_lock.job_lock`."""
        return job_lock(self.location, key)

    def is_lost(self, run: LoggedRun) -> bool:
        """Tell whether a job's run is under way by its status alone: no other process has its job now."""
        if run.status != "RUNNING":
            return False
        return is_free(self.location, run.tags[JOB_KEY])

    def _search(self, wanted: str) -> list[Run]:
        with self._reached():
            order = ["attributes.start_time DESC"]
            return list(self._client.search_runs([self._id], wanted, max_results=_MOST_RUNS, order_by=order))

    @contextmanager
    def _reached(self) -> Iterator[None]:
        """Talk to the store in the block.

        Raises:
            UserError: when the store does not do what it is asked for; in one line without passwords.
        """
        try:
            with quiet_mlflow():
                yield
        except (MlflowException, SQLAlchemyError, OSError) as error:
            reason = hide_in_text(str(error).partition("\n")[0], ())[:200]
            shown = hide_in_text(self.location.uri, ())
            raise UserError(f"tracking.uri={shown}: {reason}; check the store") from error

    def _forget(self, run: Run, tags: Iterable[str]) -> None:
        for tag in tags:
            if tag in run.data.tags:
                self._client.delete_tag(run.info.run_id, tag)


def has_store(uri: str | None) -> bool:
    """Tell whether there may be runs at this address, without making anything there.

    Raises:
        UserError: when MLflow keeps no runs there, or the file is no SQLite database.
    """
    database = locate(uri).database
    if database is None:
        return True
    try:
        if not database.exists() or not database.stat().st_size:
            return False
        require_sqlite(database)
    except OSError as error:
        raise UserError(
            f"tracking.uri=sqlite:///{database}: {error.strerror or error}; choose another"
        ) from error
    return True
