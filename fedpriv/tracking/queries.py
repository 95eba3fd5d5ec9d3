"""What a store says about the runs of an experiment: settings, state and last figures, for tables."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from fedpriv.errors import UserError
from fedpriv.tracking.secrets import hide_in_text
from fedpriv.tracking.store import answering, locate

_PAGE = 500


@dataclass(frozen=True)
class LoggedRun:
    """One run as the store has it.

    Attributes:
        run_id: the run.
        name: for people.
        status: ``FINISHED``, ``FAILED``, ``KILLED``, ``RUNNING`` or ``SCHEDULED``.
        params: settings by dotted name, as text; see :func:`fedpriv.tracking.params.flatten`.
        tags: as text.
        metrics: the last value of each.
        started: milliseconds since 1970, UTC.
        ended: the same; None while it runs, or where nothing ended it.
    """

    run_id: str
    name: str
    status: str
    params: dict[str, str]
    tags: dict[str, str]
    metrics: dict[str, float]
    started: int = 0
    ended: int | None = None


def runs_of(uri: str | None, experiment: str, wanted: str = "") -> list[LoggedRun]:
    """Return the runs of an experiment that were not deleted, the oldest first.

    Args:
        uri: tracking URI, as for :func:`fedpriv.tracking.store.locate`.
        experiment: its name.
        wanted: only runs that this filter finds, in MLflow's syntax; all where it is empty.

    Raises:
        UserError: when there is no such store (it is not created), its file is no SQLite database or cannot
            be read, there is no such experiment, or MLflow does not understand the filter.
    """
    with reading(uri) as client:
        found = client.get_experiment_by_name(experiment)
        if found is None or found.lifecycle_stage != "active":
            raise UserError(
                f"tracking.experiment={experiment}: is not in {hide_in_text(locate(uri).uri, ())}; name one "
                "that `mlflow experiments search` lists"
            )
        try:
            return [logged(run) for run in _pages(client, found.experiment_id, wanted)]
        except MlflowException as error:
            if not wanted or error.error_code != "INVALID_PARAMETER_VALUE":
                raise
            reason = str(error).partition("\n")[0][:300]
            raise UserError(
                f"filter {wanted}: {reason}; write e.g. params.privacy.epsilon = '3.0'"
            ) from error


@contextlib.contextmanager
def reading(uri: str | None) -> Iterator[MlflowClient]:
    """Open a store that exists, for reading; MLflow is quiet in the block.

    Args:
        uri: tracking URI, as for :func:`fedpriv.tracking.store.locate`.

    Raises:
        UserError: see :func:`fedpriv.tracking.store.answering`.
    """
    location = locate(uri)
    with answering(location):
        yield MlflowClient(location.uri)


def _pages(client: MlflowClient, experiment_id: str, wanted: str) -> Iterator[Run]:
    token = None
    while True:
        page = client.search_runs(
            [experiment_id],
            wanted,
            order_by=["attributes.start_time ASC"],
            max_results=_PAGE,
            page_token=token,
        )
        yield from page
        token = page.token
        if not token:
            return


def logged(run: Run) -> LoggedRun:
    """Return a run of MLflow's as one of ours."""
    return LoggedRun(
        run_id=run.info.run_id,
        name=run.info.run_name or "",
        status=run.info.status,
        params=dict(run.data.params),
        tags=dict(run.data.tags),
        metrics={name: float(value) for name, value in run.data.metrics.items()},
        started=run.info.start_time or 0,
        ended=run.info.end_time,
    )
