"""A trained model as an MLflow model that loads without this package and without pickle."""

import copy
import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from mlflow import MlflowClient
from mlflow.entities import LoggedModelOutput
from mlflow.models import Model, ModelSignature
from mlflow.types import Schema, TensorSpec
from torch import nn

from fedpriv.tracking.quiet import mlflow_pytorch, quiet_mlflow
from fedpriv.types import AnyArray

MODEL_NAME = "model"
"""Name of a run's final model: ``runs:/<run id>/model``."""


def log_model(
    client: MlflowClient,
    run_id: str,
    model: nn.Module,
    example: AnyArray,
    statement: Mapping[str, Any],
    step: int = 0,
) -> str:
    """Write ``model`` in evaluation mode as the run's logged model ``model``.

    The format is the ``pt2`` archive of ``torch.export``: the computation graph and its weights,
    so that ``mlflow.pytorch.load_model("runs:/<run id>/model")`` needs torch and mlflow only.

    Guarantee:
        Of ``example`` only shape and dtype are used: the stored input example is all zeros, for
        a person's image must not travel with a model.
        The stored model loads with ``MLFLOW_ALLOW_PICKLE_DESERIALIZATION=false``: no object in it
        needs more than torch's restricted reader of tensors.

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
    if example.ndim < 1:
        raise ValueError(f"example: need a batch (B, ...), got shape {example.shape}")
    frozen = copy.deepcopy(model).cpu().eval()
    frozen.zero_grad(set_to_none=True)
    # torch.export takes a dimension of size 1 for a constant, hence two.
    zeros = np.zeros((2, *example.shape[1:]), example.dtype)
    signature = ModelSignature(inputs=Schema([TensorSpec(example.dtype, (-1, *example.shape[1:]))]))
    experiment_id = client.get_run(run_id).info.experiment_id
    with quiet_mlflow(), tempfile.TemporaryDirectory() as folder:
        logged = client.create_logged_model(experiment_id, name=MODEL_NAME, source_run_id=run_id)
        local = Path(folder, MODEL_NAME)
        try:
            mlflow_pytorch().save_model(
                frozen,
                str(local),
                mlflow_model=Model(
                    artifact_path=logged.artifact_location,
                    run_id=run_id,
                    model_id=logged.model_id,
                    metadata=dict(statement),
                ),
                signature=signature,
                input_example=zeros,
                # Given, for otherwise MLflow starts a process that loads the model to infer them.
                pip_requirements=[f"torch=={version('torch').split('+')[0]}"],
                serialization_format="pt2",
            )
            client.log_model_artifacts(logged.model_id, str(local))
        except BaseException:
            client.finalize_logged_model(logged.model_id, "FAILED")
            raise
        client.finalize_logged_model(logged.model_id, "READY")
        client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step)])
    return str(logged.model_id)
