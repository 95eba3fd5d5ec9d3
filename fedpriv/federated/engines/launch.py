"""One way to run a configuration on any engine."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from flwr.clientapp import ClientApp
from flwr.serverapp import ServerApp

from fedpriv.cores import available_cores
from fedpriv.federated.engines import flower_private
from fedpriv.federated.engines.allocator import keep_freed_memory
from fedpriv.federated.engines.inprocess import Executor, InProcessGrid, SerialExecutor
from fedpriv.federated.engines.nursery import Nursery
from fedpriv.federated.engines.pool import PoolExecutor


def begin_workers(
    app: str, workers: int | None, threads: int | None
) -> AbstractContextManager[Nursery | None]:
    """Begin to import what worker processes need, and do not wait for it; nothing where there will be none.

    Args:
        app: ``module:function`` that makes the client app in a worker process.
        workers: see :func:`launch_inprocess`.
        threads: see there.
    """
    if not (count := _count(workers)):
        return nullcontext()
    return Nursery(app, threads or max(1, available_cores() // count))


def launch_inprocess(
    server_app: ServerApp,
    client_app: ClientApp,
    worker_app: str,
    config: str,
    nodes: int,
    workers: int | None,
    threads: int | None,
    prepare: Callable[[InProcessGrid], None] | None = None,
    nursery: Nursery | None = None,
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
        nursery: what :func:`begin_workers` gave for the same three; begun now if there is none.
    """
    keep_freed_memory()
    torch.set_num_threads(threads or available_cores())
    with begin_workers(worker_app, workers, threads) if nursery is None else nullcontext(nursery) as begun:
        executor: Executor = (
            SerialExecutor(client_app) if begun is None else PoolExecutor(begun, config, _count(workers))
        )
        grid = InProcessGrid(executor, nodes)
        try:
            if prepare is not None:
                prepare(grid)
            server_app(grid=grid, context=flower_private.node_context(1, flower_private.SERVER_NODE_ID, {}))
        finally:
            grid.close()


def _count(workers: int | None) -> int:
    if workers is not None:
        return workers
    cores = available_cores()
    return cores if cores > 1 else 0
