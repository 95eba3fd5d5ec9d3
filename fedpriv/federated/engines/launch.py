"""One way to run a configuration on any engine."""

from collections.abc import Callable

import torch
from flwr.clientapp import ClientApp
from flwr.serverapp import ServerApp

from fedpriv.cores import available_cores
from fedpriv.federated.engines import flower_private
from fedpriv.federated.engines.allocator import keep_freed_memory
from fedpriv.federated.engines.inprocess import Executor, InProcessGrid, SerialExecutor
from fedpriv.federated.engines.pool import PoolExecutor


def launch_inprocess(
    server_app: ServerApp,
    client_app: ClientApp,
    worker_app: str,
    config: str,
    nodes: int,
    workers: int | None,
    threads: int | None,
    prepare: Callable[[InProcessGrid], None] | None = None,
) -> None:
    """Run both apps without Ray.

    Args:
        server_app: run in this thread.
        client_app: run in this thread too when ``workers`` is 0.
        worker_app: ``module:function`` that makes the client app in a worker process.
        config: the configuration as JSON.
        nodes: clients and key holders together.
        workers: worker processes; 0 for none; None for one per core, or none on a single core.
        threads: torch threads per process; None divides the cores.
        prepare: given the nodes before the run, e.g. to put back what they remember.
    """
    keep_freed_memory()
    cores = available_cores()
    if workers is None:
        workers = cores if cores > 1 else 0
    torch.set_num_threads(threads or cores)
    executor: Executor = (
        PoolExecutor(worker_app, config, workers, threads or max(1, cores // workers))
        if workers
        else SerialExecutor(client_app)
    )
    grid = InProcessGrid(executor, nodes)
    try:
        if prepare is not None:
            prepare(grid)
        server_app(grid=grid, context=flower_private.node_context(1, flower_private.SERVER_NODE_ID, {}))
    finally:
        grid.close()
