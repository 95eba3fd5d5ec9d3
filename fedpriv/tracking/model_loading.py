"""Reads a run's model back, by run id, and what is written beside it."""

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts, list_artifacts
from mlflow.entities import LoggedModel, Run
from mlflow.exceptions import MlflowException
from mlflow.models.model import MLMODEL_FILE_NAME
from torch import Tensor

from fedpriv.arrays import not_finite, read_npz
from fedpriv.errors import UserError
from fedpriv.tracking.artifact_place import require_own_place
from fedpriv.tracking.model_artifact import (
    CONFIG_DIGEST,
    CONFIG_FILE,
    DESCRIPTION_DIGEST,
    MODEL_NAME,
    WEIGHTS_DIGEST,
    WEIGHTS_FILE,
    WEIGHTS_PREFIX,
    digest_of,
)
from fedpriv.tracking.model_statement import Statement, checked_statement, require_epsilon_of
from fedpriv.tracking.plain_yaml import read_plain
from fedpriv.tracking.quiet import quiet_mlflow
from fedpriv.tracking.store import locate, open_run

_MOST_DESCRIBED = 2**20
_MOST_WEIGHTS = 2**30


@dataclass(frozen=True)
class ModelDescription:
    """What is written beside a logged model.

    Attributes:
        statement: the privacy statement logged with it, checked.
        in_shape: of one input, without the batch: (C, H, W).
        dtype: of the input, e.g. ``float32``; empty where none is written.
        out_shape: of one output, without the batch: (K,); empty where none is written.
    """

    statement: Statement
    in_shape: tuple[int, ...]
    dtype: str
    out_shape: tuple[int, ...]


@dataclass(frozen=True)
class LoggedWeights:
    """What :func:`load_model` returns.

    Attributes:
        statement: the privacy statement logged with the model, checked.
        in_shape: of one input, without the batch: (C, H, W).
        out_shape: of one output: (K,).
        weights: parameters and buffers under the names they had in the trained model, on the CPU.
        config: the run's settings, nested; those that its model was logged with.
    """

    statement: Statement
    in_shape: tuple[int, ...]
    out_shape: tuple[int, ...]
    weights: dict[str, Tensor]
    config: dict[str, Any]


def load_model(uri: str | None, run_id: str, location: str | None = None) -> LoggedWeights:
    """Load the weights of a run's final model.

    Guarantee:
        - Whoever can write to the store cannot run code here: read are an array file without objects and two
          small texts. The exported program beside them, which ``torch.export.load`` evaluates expressions
          of (torch 2.13, sizes as texts for sympy), is left where it is.
        - The weights, ``MLmodel`` and the run's ``config.yaml`` are those that were logged: the SHA-256 of
          each is the one that MLflow's database has. Who may write to the folder of artifacts and not to
          the database can exchange none of them.
        - Takes no more memory than a few times the size of the file, which is 1 GiB at most.

    Edge cases:
        MLflow's global tracking address is left as it was.

    Args:
        uri: tracking URI, as for :func:`fedpriv.tracking.store.locate`.
        run_id: the run.
        location: which of the run's final models, if it wrote several; see :func:`final_model`.

    Raises:
        UserError: when the store has no such run, or the run has no model, or one of another format
            than :func:`fedpriv.tracking.model_artifact.log_model` writes, or NaN or infinite weights.
    """
    place = locate(uri)
    client, run = open_run(place, run_id)
    with quiet_mlflow(), tempfile.TemporaryDirectory() as folder:
        model = final_model(client, run, location)
        described = read_description(client, model, run)
        if CONFIG_DIGEST not in model.params:
            raise UserError(
                f"run_id={run_id}: its model is an earlier fedpriv's, which kept no digest of {CONFIG_FILE}; "
                "name the run's output folder, or run it again"
            )
        store = _Store(place.uri, folder, run_id)
        path = store.fetched(
            str(run.info.artifact_uri), CONFIG_FILE, _MOST_DESCRIBED, model.params[CONFIG_DIGEST]
        )
        config = _settings(run_id, path)
        path = store.fetched(
            model.artifact_location, WEIGHTS_FILE, _MOST_WEIGHTS, model.params[WEIGHTS_DIGEST]
        )
        try:
            arrays = read_npz(path)
            unusable = not_finite(arrays)
            weights = {
                name.removeprefix(WEIGHTS_PREFIX): torch.from_numpy(value.copy())
                for name, value in arrays.items()
            }
        except Exception as error:  # a foreign file is none in many ways
            raise _damaged(run_id, WEIGHTS_FILE) from error
    if unusable is not None:
        raise UserError(
            f"run_id={run_id}: its model holds NaN or infinite weights in "
            f"{unusable.removeprefix(WEIGHTS_PREFIX)}; choose another run"
        )
    return LoggedWeights(described.statement, described.in_shape, described.out_shape, weights, config)


def _settings(run_id: str, path: Path) -> dict[str, Any]:
    try:
        config = read_plain(path, _MOST_DESCRIBED)
    except ValueError:
        config = None
    if not isinstance(config, dict):
        raise UserError(
            f"run_id={run_id}: its {CONFIG_FILE} cannot be read; choose a run that fedpriv logged"
        )
    return config


def final_model(client: MlflowClient, run: Run, location: str | None = None) -> LoggedModel:
    """Return the final model that a run has written, the last if it wrote several.

    Args:
        client: bound to the run's store.
        run: as read.
        location: its artifacts' address, or ``models:/<model id>``; None takes the last.

    Raises:
        UserError: when the run has none, or none there. A model that another run made is none of this one's,
            though anybody who may write to a run can add it to what the run has made.
    """
    run_id = run.info.run_id
    outputs = run.outputs.model_outputs if run.outputs else []
    try:
        with quiet_mlflow():
            models = [client.get_logged_model(output.model_id) for output in outputs]
    except MlflowException as error:
        raise UserError(
            f"run_id={run_id}: a model of it was deleted or cannot be read; choose another run"
        ) from error
    named = [model for model in models if model.name == MODEL_NAME and model.source_run_id == run_id]
    if not named:
        raise UserError(f"run_id={run_id}: the run has no model; choose one that finished")
    if location is None:
        return max(named, key=lambda model: model.creation_timestamp)  # MLflow lists them in any order
    for model in named:
        if location in (model.artifact_location, f"models:/{model.model_id}"):
            return model
    raise UserError(f"run_id={run_id}: has no model at {location[:200]}; register the run again")


def read_description(client: MlflowClient, model: LoggedModel, run: Run) -> ModelDescription:
    """Read what is written beside a logged model, without its weights.

    Raises:
        UserError: when it cannot be read, is not what was logged, or its statement of privacy is none or
            has another epsilon than the run.
    """
    run_id = run.info.run_id
    if WEIGHTS_DIGEST not in model.params or DESCRIPTION_DIGEST not in model.params:
        raise UserError(
            f"run_id={run_id}: its model was logged by an earlier fedpriv or by another program, and is not "
            "executed; name the run's output folder, or run it again"
        )
    with quiet_mlflow(), tempfile.TemporaryDirectory() as folder:
        path = _Store(client.tracking_uri, folder, run_id).fetched(
            model.artifact_location, MLMODEL_FILE_NAME, _MOST_DESCRIBED, model.params[DESCRIPTION_DIGEST]
        )
        try:
            described = _described(run_id, read_plain(path, _MOST_DESCRIBED))
        except UserError:
            raise
        except Exception as error:  # as in load_model
            raise UserError(
                f"run_id={run_id}: its model cannot be read; choose a run that fedpriv logged"
            ) from error
    require_epsilon_of(run, described.statement)
    return described


@dataclass(frozen=True)
class _Store:
    """Where files are fetched from, and to.

    Attributes:
        uri: tracking URI.
        folder: for what is fetched.
        run_id: for messages.
    """

    uri: str
    folder: str
    run_id: str

    def fetched(self, place: str, name: str, limit: int, digest: str) -> Path:
        """Download one file, and nothing else that lies in ``place``; refuse another than was logged."""
        require_own_place(place, self.uri)
        try:
            path = self._downloaded(place, name, limit)
            if path.stat().st_size <= limit and digest_of(path) == digest:
                return path
        except Exception as error:  # MLflow and its stores fail on what is foreign or damaged in many ways
            raise _damaged(self.run_id, name) from error
        raise _damaged(self.run_id, name)

    def _downloaded(self, place: str, name: str, limit: int) -> Path:
        (listed,) = (
            item
            for item in list_artifacts(artifact_uri=place, tracking_uri=self.uri)
            if item.path.rpartition("/")[2] == name
        )
        # of a folder all that is in it would be fetched, of an unknown size anything
        if listed.is_dir or listed.file_size is None or listed.file_size > limit:
            raise ValueError(f"{name}: is no file of at most {limit} bytes")
        return Path(
            download_artifacts(artifact_uri=f"{place}/{name}", dst_path=self.folder, tracking_uri=self.uri)
        )


def _damaged(run_id: str, name: str) -> UserError:
    what = f"its {name}" if name == CONFIG_FILE else f"{name} of its model"
    return UserError(
        f"run_id={run_id}: {what} is missing, damaged or not what was logged; put it back, name the run's "
        "output folder, or run it again"
    )


def _described(run_id: str, found: dict[str, Any]) -> ModelDescription:
    statement = checked_statement(run_id, dict(found.get("metadata") or {}))
    signature = found.get("signature") or {}
    in_shape, dtype = _tensor(signature.get("inputs"))
    return ModelDescription(statement, in_shape, dtype, _tensor(signature.get("outputs"))[0])


def _tensor(text: str | None) -> tuple[tuple[int, ...], str]:
    """Return shape, without the batch, and dtype of the one tensor that half a signature describes."""
    if text is None:
        return (), ""
    (only,) = json.loads(text)
    shape = only["tensor-spec"]["shape"][1:]
    if not all(type(side) is int and side > 0 for side in shape):
        raise ValueError(f"shape={shape}: is none")
    dtype = str(only["tensor-spec"]["dtype"])
    if not (dtype.isascii() and dtype.isalnum() and len(dtype) <= 20):  # it is shown
        raise ValueError("dtype: is none")
    return tuple(shape), dtype
