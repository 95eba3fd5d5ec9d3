"""Adam on the server.

Reddi et al. 2021, Adaptive Federated Optimization, arXiv 2003.00295, Algorithm 2 (FedAdam).
"""

from collections.abc import Mapping

import numpy as np

from fedpriv.federated.strategy.base import Strategy
from fedpriv.types import AnyArray, FloatVector


class FedAdam(Strategy):
    """m = b1 m + (1 - b1) d;  v = b2 v + (1 - b2) d^2;  x' = x + eta m / (sqrt(v) + tau).

    d is the mean update of the round. As in the paper there is no bias correction and v starts
    at tau^2.

    Args:
        server_learning_rate: eta.
        beta1: b1, in [0, 1).
        beta2: b2, in [0, 1).
        tau: degree of adaptivity, positive.

    Raises:
        ValueError: for values out of range.
    """

    def __init__(
        self,
        server_learning_rate: float = 0.01,
        beta1: float = 0.9,
        beta2: float = 0.99,
        tau: float = 1e-3,
    ) -> None:
        """Check and keep the constants."""
        super().__init__()
        if not server_learning_rate > 0:
            raise ValueError(f"server_learning_rate={server_learning_rate} must be positive")
        if not tau > 0:
            raise ValueError(f"tau={tau} must be positive")
        for name, value in (("beta1", beta1), ("beta2", beta2)):
            if not 0 <= value < 1:
                raise ValueError(f"{name}={value} must lie in [0, 1)")
        self.server_learning_rate, self.beta1, self.beta2, self.tau = server_learning_rate, beta1, beta2, tau
        self._m: np.ndarray | None = None
        self._v: np.ndarray | None = None

    def server_step(self, parameters: FloatVector, mean_update: np.ndarray) -> np.ndarray:
        """See the class."""
        m = np.zeros_like(mean_update) if self._m is None else self._m
        v = np.full_like(mean_update, self.tau**2) if self._v is None else self._v
        self._m = self.beta1 * m + (1 - self.beta1) * mean_update
        self._v = self.beta2 * v + (1 - self.beta2) * mean_update**2
        return parameters + self.server_learning_rate * self._m / (np.sqrt(self._v) + self.tau)

    def state(self) -> dict[str, AnyArray]:
        """Return m and v, float64 (P,); nothing before the first round."""
        return {} if self._m is None or self._v is None else {"m": self._m, "v": self._v}

    def restore(self, state: Mapping[str, AnyArray]) -> None:
        """See :meth:`Strategy.restore`."""
        vector = (self.session.layout.size,)
        if state and state.keys() != {"m", "v"}:
            raise ValueError("FedAdam keeps m and v")
        if any(array.dtype != np.float64 or array.shape != vector for array in state.values()):
            raise ValueError(f"FedAdam keeps float64 vectors of shape {vector}")
        self._m, self._v = state.get("m"), state.get("v")
