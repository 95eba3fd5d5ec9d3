"""What one strategy does otherwise than another: its step, and what clients are told for it."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

import numpy as np

from fedpriv.types import AnyArray, FloatVector


class ServerStep(ABC):
    """What a subclass of :class:`~fedpriv.federated.strategy.base.Strategy` says.

    The step is a must; a strategy that remembers something from round to round also returns and takes back
    its state, so that an interrupted run can go on.
    """

    @abstractmethod
    def server_step(self, parameters: FloatVector, mean_update: np.ndarray) -> np.ndarray:
        """Return the next global model.

        Args:
            parameters: the global model x, float32 (P,).
            mean_update: sum_i w_i (x_i - x) / sum_i w_i, float64 (P,).
        """

    def client_settings(self) -> dict[str, float]:
        """Return what every client is told besides the model; nothing by default."""
        return {}

    def state(self) -> dict[str, AnyArray]:
        """Return what the strategy itself carries from round to round; nothing by default."""
        return {}

    def restore(self, state: Mapping[str, AnyArray]) -> None:
        """Take back what :meth:`state` returned.

        Raises:
            ValueError: when it is not such a state.
        """
        if state:
            raise ValueError(f"{type(self).__name__} keeps no {', '.join(sorted(state))}")
