"""A trained model as an MLflow model: a program for MLflow's users, and its weights for this package."""

import copy
import hashlib
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from mlflow import MlflowClient
from mlflow.entities import LoggedModelOutput
from mlflow.models import Model, ModelSignature
from mlflow.models.model import MLMODEL_FILE_NAME
from mlflow.types import Schema, TensorSpec
from mlflow.utils import environment
from torch import fx, nn

from fedpriv.errors import UserError
from fedpriv.tracking.quiet import mlflow_pytorch, quiet_mlflow
from fedpriv.tracking.uncollected import uncollected
from fedpriv.types import AnyArray

MODEL_NAME = "model"
"""Name of a run's final model: ``runs:/<run id>/model``."""

WEIGHTS_FILE = "weights.npz"
"""Beside ``MLmodel``: parameters and buffers, ``weights/<name>``, without pickle."""
WEIGHTS_PREFIX = "weights/"
WEIGHTS_DIGEST = "weights_sha256"
"""Parameter of the logged model, in MLflow's database: SHA-256 of :data:`WEIGHTS_FILE`."""
DESCRIPTION_DIGEST = "mlmodel_sha256"
"""Likewise of ``MLmodel``, which has the statement of privacy and the shape of an input."""
CONFIG_FILE = "config.yaml"
"""Of the run: the settings, by which its model is built again."""
CONFIG_DIGEST = "config_sha256"
"""Likewise of the run's :data:`CONFIG_FILE`; a tag of the run since its start, too."""


def log_model(
    client: MlflowClient,
    run_id: str,
    model: nn.Module,
    example: AnyArray,
    statement: Mapping[str, Any],
    step: int = 0,
) -> str:
    """Write ``model`` in evaluation mode as the run's logged model ``model``.

    It is written twice. As the ``pt2`` archive of ``torch.export``, the computation graph and its weights, so
    that ``mlflow.pytorch.load_model("runs:/<run id>/model")`` needs torch and mlflow only. And as weights
    alone, :data:`WEIGHTS_FILE`, which is all that :func:`fedpriv.tracking.model_loading.load_model` reads:
    loading the archive runs the code of whoever altered it, pickle or not.

    Guarantee:
        Of ``example`` only shape and dtype are used: the stored input example is all zeros, for
        a person's image must not travel with a model.
        The stored model loads with ``MLFLOW_ALLOW_PICKLE_DESERIALIZATION=false``: no object in it
        needs more than torch's restricted reader of tensors.
        The SHA-256 of the weights, of ``MLmodel`` and of the ``config.yaml`` that the run was started with
        are kept in MLflow's database, so that who may write to the artifacts alone changes none of them
        unnoticed.
        The program holds no tracebacks, which name this machine's folders, if torch can leave them out
        (2.13 can).

    Edge cases:
        ``model`` itself is left as it was: device, mode and gradients.
        An example of one image still gives a model for batches of any size.

    Args:
        client: bound to the tracking store.
        run_id: the run.
        model: maps (B, ...) to (B, ...) without control flow that depends on values.
        example: input batch of shape (B, ...), the dtype being what the model takes.
        statement: what is promised about privacy (epsilon, delta, unit, data id), kept as the
            model's metadata.
        step: round of the model.

    Returns:
        The logged model's id.

    Raises:
        ValueError: when ``example`` has no batch dimension.
    """
    frozen, zeros = _stripped(model, example)
    run = client.get_run(run_id)
    started_with = {name: text for name, text in run.data.tags.items() if name == CONFIG_DIGEST}
    with _spared(), tempfile.TemporaryDirectory() as folder:
        weights, local = Path(folder, WEIGHTS_FILE), Path(folder, MODEL_NAME)
        digests = {WEIGHTS_DIGEST: _write_weights(frozen, weights), **started_with}
        logged = client.create_logged_model(
            run.info.experiment_id, name=MODEL_NAME, source_run_id=run_id, params=digests
        )
        try:
            described = Model(
                artifact_path=logged.artifact_location,
                run_id=run_id,
                model_id=logged.model_id,
                metadata=dict(statement),
            )
            _save(frozen, zeros, local, described)
            weights.replace(local / WEIGHTS_FILE)
            # it names the logged model, so it is there after that
            client.log_model_params(
                logged.model_id, {DESCRIPTION_DIGEST: digest_of(local / MLMODEL_FILE_NAME)}
            )
            client.log_model_artifacts(logged.model_id, str(local))
        except BaseException:
            client.finalize_logged_model(logged.model_id, "FAILED")
            raise
        client.finalize_logged_model(logged.model_id, "READY")
        client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step)])
    return str(logged.model_id)


def try_model(model: nn.Module, example: AnyArray) -> None:
    """Write ``model`` as :func:`log_model` does, to nowhere, so that what cannot be written is not trained.

    It takes a second where it is a process's first, a tenth of one later: what it imports stays.

    Args:
        model: see :func:`log_model`.
        example: see :func:`log_model`.

    Raises:
        UserError: if ``torch.export`` does not make a program of the model.
        ValueError: when ``example`` has no batch dimension.
    """
    frozen, zeros = _stripped(model, example)
    with _spared(), tempfile.TemporaryDirectory() as folder:
        try:
            _save(frozen, zeros, Path(folder, MODEL_NAME), Model())
        except OSError:
            raise
        except Exception as error:  # torch.export has no class of its own for them
            said = next(iter(str(error).splitlines()), type(error).__name__)
            raise UserError(
                f"tracking.log_model: {type(model).__name__} cannot be exported ({said[:200]}); write its "
                "forward() without control flow on values, or set tracking.log_model=false"
            ) from error


def _stripped(model: nn.Module, example: AnyArray) -> tuple[nn.Module, AnyArray]:
    """Return a copy to write and an input of zeros in the example's place."""
    if example.ndim < 1:
        raise ValueError(f"example: need a batch (B, ...), got shape {example.shape}")
    frozen = copy.deepcopy(model).cpu().eval()
    frozen.zero_grad(set_to_none=True)
    # torch.export takes a dimension of size 1 for a constant, hence two.
    return frozen, np.zeros((2, *example.shape[1:]), example.dtype)


def _save(frozen: nn.Module, zeros: AnyArray, folder: Path, described: Model) -> None:
    with torch.no_grad():
        outputs = frozen(torch.from_numpy(zeros)).numpy()
    mlflow_pytorch().save_model(
        frozen,
        str(folder),
        mlflow_model=described,
        signature=ModelSignature(inputs=_described(zeros), outputs=_described(outputs)),
        input_example=zeros,
        # Given, for otherwise MLflow starts a process that loads the model to infer them.
        pip_requirements=[f"torch=={version('torch').split('+')[0]}"],
        serialization_format="pt2",
    )


@contextmanager
def _spared() -> Iterator[None]:
    """Write a model without noise, checks that find nothing, and the names of this machine's folders."""
    with quiet_mlflow(), uncollected(), _unchecked(), _untraced():
        yield


def _described(batch: AnyArray) -> Schema:
    return Schema([TensorSpec(batch.dtype, (-1, *batch.shape[1:]))])


def _write_weights(model: nn.Module, path: Path) -> str:
    """Write parameters and buffers; return the file's SHA-256."""
    arrays = {f"{WEIGHTS_PREFIX}{name}": value.numpy() for name, value in model.state_dict().items()}
    np.savez(path, allow_pickle=False, **arrays)
    return digest_of(path)


def digest_of(path: Path) -> str:
    """Return a file's SHA-256 in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _unchecked() -> Iterator[None]:
    """Spare MLflow the comparison of a model's requirements with what is installed.

    It lists the files of every package, a fifth of the time that a small model takes, and can find nothing:
    the requirement is read from the installed package.
    """
    with _set(environment, "warn_dependency_requirement_mismatches", lambda requirements: None):
        yield


@contextmanager
def _untraced() -> Iterator[None]:
    """Let ``torch.export`` write no tracebacks into the program: they name this machine's folders."""
    with _set(getattr(fx, "config", None), "do_not_emit_stack_traces", True):
        yield


@contextmanager
def _set(module: ModuleType | None, name: str, value: Any) -> Iterator[None]:
    before = getattr(module, name, None)
    if before is None:  # another version, which does without or takes its time
        yield
        return
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, before)
