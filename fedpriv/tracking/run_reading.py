"""What a finished run says about itself, and what is measured on its model later."""

import tempfile
import time
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric
from mlflow.exceptions import MlflowException

from fedpriv.errors import UserError
from fedpriv.tracking.artifact_place import require_own_place
from fedpriv.tracking.params import clean_name
from fedpriv.tracking.plain_yaml import read_plain
from fedpriv.tracking.round_metrics import finite
from fedpriv.tracking.store import answering, locate, open_run
from fedpriv.types import Metrics

_FILE, _MAX_BYTES = "config.yaml", 2**20


def read_config(uri: str | None, run_id: str) -> dict[str, Any]:
    """Return the configuration that a run was started with, secrets hidden.

    Args:
        uri: tracking URI, as for :func:`fedpriv.tracking.store.locate`.
        run_id: the run.

    Raises:
        UserError: when there is no such run, its artifacts lie on a foreign host, or its ``config.yaml`` is
            missing, no file, of a size that is not known or above 1 MiB, or no mapping.
    """
    place = locate(uri)
    client, run = open_run(place, run_id)
    require_own_place(run.info.artifact_uri, place.uri)
    with answering(place), tempfile.TemporaryDirectory() as folder:
        try:
            config = read_plain(_fetched(client, run.info.run_id, folder), _MAX_BYTES)
        except (MlflowException, OSError, ValueError) as error:
            raise UserError(
                f"run_id={run_id}: its {_FILE} cannot be read; choose a run that fedpriv logged"
            ) from error
    if not isinstance(config, dict):
        raise UserError(f"run_id={run_id}: its {_FILE} holds no settings; choose a run that fedpriv logged")
    return config


def _fetched(client: MlflowClient, run_id: str, folder: str) -> Path:
    """Download the one file, if it is one: a folder of that name would come whole, whatever it holds."""
    listed = {item.path: item for item in client.list_artifacts(run_id)}
    found = listed.get(_FILE)
    if found is None:
        raise ValueError("is missing")
    if found.is_dir or found.file_size is None:
        raise UserError(f"run_id={run_id}: its {_FILE} is no file of known size; it is not fedpriv's")
    if found.file_size > _MAX_BYTES:
        raise UserError(f"run_id={run_id}: its {_FILE} is larger than 1 MiB; it is not fedpriv's")
    return Path(client.download_artifacts(run_id, _FILE, folder))


def log_evaluation(uri: str | None, run_id: str, data: str, metrics: Metrics) -> None:
    """Write metrics of a run's model on some data as ``evaluate/<data>/<name>``; its status stays.

    Raises:
        UserError: when there is no such run, or the store does not take them.
    """
    place = locate(uri)
    client, run = open_run(place, run_id)
    now, prefix = int(time.time() * 1000), clean_name(data).replace("/", "_")
    named = finite({f"evaluate/{prefix}/{name}": value for name, value in metrics.items()})
    with answering(place):
        client.log_batch(run.info.run_id, [Metric(name, value, now, 0) for name, value in named.items()])
