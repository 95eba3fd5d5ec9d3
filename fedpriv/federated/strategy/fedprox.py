"""FedAvg with a proximal term on the clients.

Li et al. 2020, Federated Optimization in Heterogeneous Networks, arXiv 1812.06127, eq. (2).
"""

from fedpriv.federated.strategy.fedavg import FedAvg


class FedProx(FedAvg):
    """Clients minimise F_i(w) + mu/2 ||w - w_t||^2, the SQUARED norm over all parameters.

    Args:
        proximal_mu: mu; 0 is FedAvg.
        server_learning_rate: see :class:`FedAvg`.

    Raises:
        ValueError: when mu is negative.
    """

    def __init__(self, proximal_mu: float = 0.01, server_learning_rate: float = 1.0) -> None:
        """Check and keep mu."""
        super().__init__(server_learning_rate)
        if proximal_mu < 0:
            raise ValueError(f"proximal_mu={proximal_mu} must not be negative")
        self.proximal_mu = proximal_mu

    def client_settings(self) -> dict[str, float]:
        """Tell the clients mu."""
        return {"proximal-mu": self.proximal_mu}
