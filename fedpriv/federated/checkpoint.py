"""The global model on disk after every round: complete or not there."""

import os
from pathlib import Path

import numpy as np

from fedpriv.errors import UserError
from fedpriv.training.parameters import ParameterLayout
from fedpriv.types import FloatVector


class Checkpoint:
    """``checkpoint.npz`` in a folder: parameters, their layout's digest and the round.

    Guarantee:
        - after a crash at any moment the file is that of some finished round, whole.
    """

    def __init__(self, folder: Path, layout: ParameterLayout) -> None:
        """Write into ``folder``, which is made if need be."""
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / "checkpoint.npz"
        self._layout = layout

    def save(self, server_round: int, parameters: FloatVector) -> None:
        """Replace the file by this round's model."""
        temporary = self.path.with_suffix(".tmp")
        with temporary.open("wb") as file:
            np.savez(
                file,
                parameters=parameters,
                layout=np.frombuffer(self._layout.digest, dtype=np.uint8),
                round=np.int64(server_round),
            )
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self.path)

    def load(self) -> tuple[int, FloatVector]:
        """Return (round, parameters).

        Raises:
            UserError: when the file is missing, damaged, or of another model.
        """
        try:
            with np.load(self.path, allow_pickle=False) as arrays:
                parameters, layout = arrays["parameters"], arrays["layout"].tobytes()
                server_round = int(arrays["round"])
        except (OSError, ValueError, KeyError, EOFError) as error:
            raise UserError(
                f"{self.path}: cannot be read as a checkpoint; run the experiment again"
            ) from error
        if layout != self._layout.digest or parameters.shape != (self._layout.size,):
            raise UserError(f"{self.path}: holds another model; choose the configuration it was made with")
        return server_round, parameters.astype(np.float32)
