"""Flower's own simulation on Ray, for scale. The only user of Ray and of ``run_simulation``."""

import gc
import logging
import os
import warnings

from flwr.clientapp import ClientApp
from flwr.serverapp import ServerApp

from fedpriv.errors import UserError


def run_on_ray(
    server_app: ServerApp, client_app: ClientApp, nodes: int, cpus_per_client: float, gpus_per_client: float
) -> None:
    """Run both apps in Flower's simulation with ``nodes`` virtual nodes.

    Guarantee:
        - This process has the environment variables that it had: Flower and Ray set some for processes of
          their own, ``PYTHONPATH`` among them.

    Args:
        server_app: runs in a thread of this process.
        client_app: pickled to Ray's actors.
        nodes: clients and key holders together.
        cpus_per_client: cores an actor takes; cores / this = actors.
        gpus_per_client: share of a GPU an actor takes.

    Raises:
        UserError: when Ray is not installed.
    """
    environment = dict(os.environ)
    try:
        import ray
    except ImportError:
        raise UserError("engine=ray: Ray is not installed; pip install 'flwr[simulation]'") from None
    from flwr.simulation import run_simulation

    logging.getLogger("flwr").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ray and this deprecated entry point warn on every run
        try:
            run_simulation(
                server_app=server_app,
                client_app=client_app,
                num_supernodes=nodes,
                backend_config={
                    "client_resources": {"num_cpus": cpus_per_client, "num_gpus": gpus_per_client},
                    "init_args": {
                        "logging_level": "error",
                        "log_to_driver": False,
                        "include_dashboard": False,
                    },
                },
            )
        finally:
            if ray.is_initialized():
                ray.shutdown()
            _put_back(environment)
            gc.collect()  # Ray leaves open files in cycles, which would warn of it wherever they are found


def _put_back(environment: dict[str, str]) -> None:
    for name in os.environ.keys() - environment.keys():
        del os.environ[name]
    os.environ.update(environment)
