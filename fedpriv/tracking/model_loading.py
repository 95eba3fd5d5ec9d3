"""Reads a run's model back, by run id, and what is written beside it."""

import hashlib
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts, list_artifacts
from mlflow.entities import LoggedModel, Run
from mlflow.models.model import MLMODEL_FILE_NAME
from torch import Tensor

from fedpriv.arrays import read_npz
from fedpriv.errors import UserError
from fedpriv.tracking.model_artifact import MODEL_NAME, WEIGHTS_DIGEST, WEIGHTS_FILE, WEIGHTS_PREFIX
from fedpriv.tracking.plain_yaml import read_plain
from fedpriv.tracking.quiet import quiet_mlflow
from fedpriv.tracking.store import locate, open_run

_MOST_DESCRIBED = 2**20
_MOST_WEIGHTS = 2**30


@dataclass(frozen=True)
class ModelDescription:
    """What is written beside a logged model.

    Attributes:
        statement: the privacy statement logged with it: texts, numbers and None.
        in_shape: of one input, without the batch: (C, H, W).
        dtype: of the input, e.g. ``float32``; empty where none is written.
        out_shape: of one output, without the batch: (K,); empty where none is written.
    """

    statement: dict[str, Any]
    in_shape: tuple[int, ...]
    dtype: str
    out_shape: tuple[int, ...]


@dataclass(frozen=True)
class LoggedWeights:
    """What :func:`load_model` returns.

    Attributes:
        statement: the privacy statement logged with the model.
        in_shape: of one input, without the batch: (C, H, W).
        out_shape: of one output: (K,).
        weights: parameters and buffers under the names they had in the trained model, on the CPU.
    """

    statement: dict[str, Any]
    in_shape: tuple[int, ...]
    out_shape: tuple[int, ...]
    weights: dict[str, Tensor]


def load_model(uri: str | None, run_id: str, location: str | None = None) -> LoggedWeights:
    """Load the weights of a run's final model.

    Guarantee:
        - Whoever can write to the store cannot run code here: read are an array file without objects and two
          small texts. The exported program beside them, which ``torch.export.load`` evaluates expressions
          of (torch 2.13, sizes as texts for sympy), is left where it is.
        - The weights are those that were logged: their file's SHA-256 is the one that MLflow's database has.
          Who may write to the folder of artifacts and not to the database can exchange no weights.
        - Takes no more memory than a few times the size of the file, which is 1 GiB at most.

    Edge cases:
        MLflow's global tracking address is left as it was.

    Args:
        uri: tracking URI, as for :func:`fedpriv.tracking.store.locate`.
        run_id: the run.
        location: which of the run's final models, if it wrote several; see :func:`final_model`.

    Raises:
        UserError: when the store has no such run, or the run has no model, or one of another format
            than :func:`fedpriv.tracking.model_artifact.log_model` writes.
    """
    place = locate(uri)
    client, run = open_run(place, run_id)
    with quiet_mlflow(), tempfile.TemporaryDirectory() as folder:
        model = final_model(client, run, location)
        described = read_description(client, model, run_id)
        _require_plain(run_id, described.statement)
        digest = model.params.get(WEIGHTS_DIGEST)
        if digest is None:
            raise UserError(
                f"run_id={run_id}: its model was logged by an earlier fedpriv, as a program, which is not "
                "executed; name the run's output folder, or run it again"
            )
        try:
            weights = _checked_weights(
                _fetched(model, WEIGHTS_FILE, _MOST_WEIGHTS, place.uri, folder), digest
            )
        except Exception as error:  # MLflow and its stores fail on a foreign or damaged model in many ways
            raise UserError(
                f"run_id={run_id}: {WEIGHTS_FILE} of its model is missing, damaged or not what was logged; "
                "put it back, name the run's output folder, or run it again"
            ) from error
    return LoggedWeights(described.statement, described.in_shape, described.out_shape, weights)


def _require_plain(run_id: str, statement: Mapping[str, Any]) -> None:
    for name, value in statement.items():
        plain = float | int | None if name in ("epsilon", "delta") else float | int | str | None
        if not isinstance(value, plain):
            raise UserError(
                f"run_id={run_id}: its model states {str(name)[:40]!r} = {str(value)[:40]!r}; choose a "
                "run that fedpriv logged"
            )


def _checked_weights(path: Path, digest: str) -> dict[str, Tensor]:
    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != digest:
            raise ValueError("SHA-256 is another")
    arrays = read_npz(path)
    return {
        name.removeprefix(WEIGHTS_PREFIX): torch.from_numpy(value.copy()) for name, value in arrays.items()
    }


def final_model(client: MlflowClient, run: Run, location: str | None = None) -> LoggedModel:
    """Return the final model that a run has written, the last if it wrote several.

    Args:
        client: bound to the run's store.
        run: as read.
        location: its artifacts' address, or ``models:/<model id>``; None takes the last.

    Raises:
        UserError: when the run has none, or none there.
    """
    outputs = run.outputs.model_outputs if run.outputs else []
    models = [client.get_logged_model(output.model_id) for output in outputs]
    named = [model for model in models if model.name == MODEL_NAME]
    if not named:
        raise UserError(f"run_id={run.info.run_id}: the run has no model; choose one that finished")
    if location is None:
        return max(named, key=lambda model: model.creation_timestamp)  # MLflow lists them in any order
    for model in named:
        if location in (model.artifact_location, f"models:/{model.model_id}"):
            return model
    raise UserError(f"run_id={run.info.run_id}: has no model at {location[:200]}; register the run again")


def read_description(client: MlflowClient, model: LoggedModel, run_id: str) -> ModelDescription:
    """Read what is written beside a logged model, without its weights.

    Raises:
        UserError: when it cannot be read.
    """
    try:
        with quiet_mlflow(), tempfile.TemporaryDirectory() as folder:
            path = _fetched(model, MLMODEL_FILE_NAME, _MOST_DESCRIBED, client.tracking_uri, folder)
            return _described(read_plain(path, _MOST_DESCRIBED))
    except Exception as error:  # as in load_model
        raise UserError(
            f"run_id={run_id}: its model cannot be read; choose a run that fedpriv logged"
        ) from error


def _fetched(model: LoggedModel, name: str, limit: int, uri: str, folder: str) -> Path:
    """Download one file of a model, and nothing else of it."""
    listed = {
        item.path.rpartition("/")[2]: item.file_size
        for item in list_artifacts(artifact_uri=model.artifact_location, tracking_uri=uri)
    }
    if (listed[name] or 0) > limit:
        raise ValueError(f"{name}: is larger than {limit} bytes")
    path = Path(
        download_artifacts(
            artifact_uri=f"{model.artifact_location}/{name}", dst_path=folder, tracking_uri=uri
        )
    )
    if path.stat().st_size > limit:
        raise ValueError(f"{name}: is larger than {limit} bytes")
    return path


def _described(found: dict[str, Any]) -> ModelDescription:
    statement = dict(found.get("metadata") or {})
    signature = found.get("signature") or {}
    in_shape, dtype = _tensor(signature.get("inputs"))
    return ModelDescription(statement, in_shape, dtype, _tensor(signature.get("outputs"))[0])


def _tensor(text: str | None) -> tuple[tuple[int, ...], str]:
    """Return shape, without the batch, and dtype of the one tensor that half a signature describes."""
    if text is None:
        return (), ""
    (only,) = json.loads(text)
    shape = only["tensor-spec"]["shape"][1:]
    if not all(isinstance(side, int) and side > 0 for side in shape):
        raise ValueError(f"shape={shape}: is none")
    return tuple(shape), str(only["tensor-spec"]["dtype"])
