"""What a finished run says about itself, and what is measured on its model later."""

import tempfile
import time
from pathlib import Path
from typing import Any

from mlflow.entities import Metric
from mlflow.exceptions import MlflowException

from fedpriv.errors import UserError
from fedpriv.tracking.params import clean_name
from fedpriv.tracking.plain_yaml import read_plain
from fedpriv.tracking.quiet import quiet_mlflow
from fedpriv.tracking.round_metrics import finite
from fedpriv.tracking.store import locate, open_run
from fedpriv.types import Metrics

_FILE, _MAX_BYTES = "config.yaml", 2**20


def read_config(uri: str | None, run_id: str) -> dict[str, Any]:
    """Return the configuration that a run was started with, secrets hidden.

    Args:
        uri: tracking URI, as for :func:`fedpriv.tracking.store.locate`.
        run_id: the run.

    Raises:
        UserError: when there is no such run, or its ``config.yaml`` is missing, larger than 1 MiB
            or no mapping.
    """
    client, run = open_run(locate(uri), run_id)
    try:
        with quiet_mlflow(), tempfile.TemporaryDirectory() as folder:
            listed = {item.path: item.file_size for item in client.list_artifacts(run.info.run_id)}
            if (listed.get(_FILE) or 0) > _MAX_BYTES:
                raise UserError(f"run_id={run_id}: its {_FILE} is larger than 1 MiB; it is not fedpriv's")
            path = Path(client.download_artifacts(run.info.run_id, _FILE, folder))
            config = read_plain(path, _MAX_BYTES)
    except (MlflowException, OSError, ValueError) as error:
        raise UserError(
            f"run_id={run_id}: its {_FILE} cannot be read; choose a run that fedpriv logged"
        ) from error
    if not isinstance(config, dict):
        raise UserError(f"run_id={run_id}: its {_FILE} holds no settings; choose a run that fedpriv logged")
    return config


def log_evaluation(uri: str | None, run_id: str, data: str, metrics: Metrics) -> None:
    """Write metrics of a run's model on some data as ``evaluate/<data>/<name>``; its status stays.

    Raises:
        UserError: when there is no such run.
    """
    client, run = open_run(locate(uri), run_id)
    now, prefix = int(time.time() * 1000), clean_name(data).replace("/", "_")
    named = finite({f"evaluate/{prefix}/{name}": value for name, value in metrics.items()})
    with quiet_mlflow():
        client.log_batch(run.info.run_id, [Metric(name, value, now, 0) for name, value in named.items()])
