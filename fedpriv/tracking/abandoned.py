"""Ends a run in MLflow that its own process could not end."""

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from fedpriv.errors import UserError
from fedpriv.tracking.quiet import quiet_mlflow
from fedpriv.tracking.secrets import hide_in_text
from fedpriv.tracking.store import find_run, locate, require_sqlite


def end_abandoned(uri: str, experiment: str, key: str) -> None:
    """Mark the run of this ``key`` as KILLED if it is still under way; the process that made it is gone.

    Edge cases:
        Without such a store, experiment or run there is nothing to do, and nothing is made.

    Args:
        uri: tracking URI, as for :func:`fedpriv.tracking.store.locate`.
        experiment: its name.
        key: see :func:`fedpriv.tracking.store.find_run`.

    Raises:
        UserError: when the store does not answer.
    """
    location = locate(uri)
    if location.database is not None:
        if not location.database.exists():
            return
        require_sqlite(location.database)
    try:
        with quiet_mlflow():
            client = MlflowClient(location.uri)
            found = client.get_experiment_by_name(experiment)
            run = None if found is None else find_run(client, found.experiment_id, key)
            if run is not None and run.info.status == "RUNNING":
                client.set_tag(run.info.run_id, "failure", "killed before its first round")
                client.set_terminated(run.info.run_id, "KILLED")
    except MlflowException as error:
        reason = hide_in_text(str(error), ())[:200]
        raise UserError(
            f"tracking.uri={hide_in_text(location.uri, ())}: {reason}; check the address"
        ) from error
