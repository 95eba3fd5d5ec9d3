"""Reads a run's model back, by run id."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from mlflow.artifacts import download_artifacts
from mlflow.models import Model
from torch import Tensor, nn

from fedpriv.errors import UserError
from fedpriv.tracking.model_artifact import MODEL_NAME
from fedpriv.tracking.quiet import mlflow_pytorch, quiet_mlflow
from fedpriv.tracking.store import locate, open_run


class LoadedModel(nn.Module):
    """A logged model, usable where the trained one was.

    The exported graph is fixed in evaluation mode and refuses ``train()`` and ``eval()``; here
    ``eval()`` and ``train()`` change nothing, so that evaluation code runs unchanged.
    """

    def __init__(self, exported: nn.Module) -> None:
        """Wrap what ``mlflow.pytorch.load_model`` returned."""
        super().__init__()
        self.exported = exported
        self.training = False

    def forward(self, inputs: Tensor) -> Tensor:
        """Map (B, ...) as the logged model did; any B."""
        outputs: Tensor = self.exported(inputs)
        return outputs

    def train(self, mode: bool = True) -> "LoadedModel":
        """Do nothing: the graph has no other mode."""
        del mode
        return self


@dataclass(frozen=True)
class LoggedModelCopy:
    """What :func:`load_model` returns.

    Attributes:
        model: on the CPU, in evaluation mode.
        statement: the privacy statement logged with it.
        in_shape: of one input, without the batch: (C, H, W).
        weights: parameters and buffers under the names they had in the trained model, for
            ``trained.load_state_dict(weights)``.
    """

    model: nn.Module
    statement: dict[str, Any]
    in_shape: tuple[int, ...]
    weights: dict[str, Tensor]


def load_model(uri: str | None, run_id: str) -> LoggedModelCopy:
    """Load the final model of a run.

    Guarantee:
        Whoever can write to the store cannot run code here: nothing is unpickled, and no code that
        travels with a model is imported.

    Edge cases:
        MLflow's global tracking address is left as it was.

    Args:
        uri: tracking URI, as for :func:`fedpriv.tracking.store.locate`.
        run_id: the run.

    Raises:
        UserError: when the store has no such run, or the run has no model, or one of another format
            than :func:`fedpriv.tracking.model_artifact.log_model` writes.
    """
    location = locate(uri)
    client, run = open_run(location, run_id)
    with quiet_mlflow(), tempfile.TemporaryDirectory() as folder:
        outputs = run.outputs.model_outputs if run.outputs else []
        models = [client.get_logged_model(output.model_id) for output in outputs]
        found = [model for model in models if model.name == MODEL_NAME]
        if not found:
            raise UserError(f"run_id={run_id}: the run has no model; choose one that finished")
        try:
            local = download_artifacts(
                artifact_uri=found[-1].artifact_location, dst_path=folder, tracking_uri=location.uri
            )
            description = Model.load(local)
            statement = dict(description.metadata or {})
            schema = description.get_input_schema()  # type: ignore[no-untyped-call]
            in_shape = tuple(int(side) for side in schema.inputs[0].shape[1:]) if schema else ()
            if (description.flavors.get("pytorch") or {}).get("code") is not None:
                raise UserError(f"run_id={run_id}: its model brings code along; only fedpriv's are loaded")
            with _without_pickle():
                exported = mlflow_pytorch().load_model(local)
        except UserError:
            raise
        except Exception as error:  # MLflow and torch fail on a foreign or damaged model in many ways
            raise UserError(
                f"run_id={run_id}: its model cannot be loaded; choose a run that fedpriv logged"
            ) from error
    weights = {name: value.detach().clone() for name, value in exported.state_dict().items()}
    return LoggedModelCopy(LoadedModel(exported), statement, in_shape, weights)


@contextmanager
def _without_pickle() -> Iterator[None]:
    """Let MLflow refuse every model that is not free of pickle."""
    name = "MLFLOW_ALLOW_PICKLE_DESERIALIZATION"
    before = os.environ.get(name)
    os.environ[name] = "false"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
