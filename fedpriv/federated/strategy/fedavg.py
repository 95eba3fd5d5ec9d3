"""Federated averaging.

McMahan et al. 2017, Communication-Efficient Learning of Deep Networks from Decentralized Data,
arXiv 1602.05629, Algorithm 1.
"""

import numpy as np

from fedpriv.federated.strategy.base import Strategy
from fedpriv.types import FloatVector


class FedAvg(Strategy):
    """x' = x + eta * sum_i w_i (x_i - x) / sum_i w_i, with w_i the client's number of examples.

    Args:
        server_learning_rate: eta; 1 gives the mean of the clients' models.

    Raises:
        ValueError: when eta is not positive.
    """

    def __init__(self, server_learning_rate: float = 1.0) -> None:
        """Check and keep eta."""
        super().__init__()
        if not server_learning_rate > 0:
            raise ValueError(f"server_learning_rate={server_learning_rate} must be positive")
        self.server_learning_rate = server_learning_rate

    def server_step(self, parameters: FloatVector, mean_update: np.ndarray) -> np.ndarray:
        """See the class."""
        return parameters + self.server_learning_rate * mean_update
