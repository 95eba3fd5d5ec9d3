"""The one ServerApp: a thin wrapper around :func:`serve`."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from flwr.app import ArrayRecord, Context, MetricRecord
from flwr.serverapp import Grid, ServerApp
from torch import nn

from fedpriv.data.dataset import ImageDataset
from fedpriv.federated import messages
from fedpriv.federated.client_app import CONFIG_KEY
from fedpriv.federated.release import SumOpener, open_by_keyholder
from fedpriv.federated.roster import discover
from fedpriv.federated.strategy.base import Strategy
from fedpriv.federated.strategy.session import Progress, RunObserver, Session
from fedpriv.he.codec import UpdateCodec
from fedpriv.he.envelope import HEADER_BYTES
from fedpriv.results import RoundResult
from fedpriv.tasks.base import Task
from fedpriv.training.parameters import FlatParameters
from fedpriv.types import FloatVector


@dataclass
class ServerPlan:
    """The server side of a run. It holds no key and no training image.

    Attributes:
        run_id: 32 hexadecimal digits, fresh for every run.
        seed: the run's seed.
        clients: expected number of clients.
        rounds: rounds to train.
        cohort: clients asked per round; None for all.
        min_replies: a round with fewer updates is discarded.
        client_timeout_s: seconds a client has for its reply.
        start_timeout_s: patience for nodes to register.
        evaluate_every: rounds between evaluations; the first and the last are always evaluated.
        task: what is learned.
        test: images of people whom no client holds.
        backbone: the model, with its initial parameters.
        codec: aggregates sealed updates.
        strategy: what the server does with them.
        observers: who hears of progress.
        progress: where an interrupted run goes on; None starts it.
    """

    run_id: str
    seed: int
    clients: int
    rounds: int
    cohort: int | None
    min_replies: int
    client_timeout_s: float
    start_timeout_s: float
    evaluate_every: int
    task: Task
    test: ImageDataset
    backbone: nn.Module
    codec: UpdateCodec
    strategy: Strategy
    observers: list[RunObserver] = field(default_factory=list)
    progress: Progress | None = None


@dataclass(frozen=True)
class Outcome:
    """What a run leaves: every round's figures and the final model."""

    history: list[RoundResult]
    parameters: FloatVector


def serve(grid: Grid, plan: ServerPlan) -> Outcome:
    """Train ``plan.rounds`` rounds over the nodes behind ``grid``, or those that are left of them.

    Raises:
        UserError: when nodes are missing, a round gets no usable update, or the key holder refuses.
    """
    parameters = FlatParameters(plan.backbone)
    holders = 1 if plan.codec.needs_keyholder else 0
    roster = discover(grid, plan.clients, holders, plan.start_timeout_s)
    size = parameters.layout.size
    plan.strategy.bind(
        Session(
            run_id=plan.run_id,
            seed=plan.seed,
            roster=roster,
            layout=parameters.layout,
            codec=plan.codec,
            open_sum=(
                open_by_keyholder(plan.run_id, roster, size, plan.client_timeout_s)
                if holders
                else _open_here(plan.codec, size)
            ),
            cohort=plan.cohort,
            min_replies=plan.min_replies,
            max_update_bytes=plan.codec.max_payload_bytes(size) + HEADER_BYTES,
            observers=tuple(plan.observers),
            progress=plan.progress,
        )
    )

    def evaluate(server_round: int, arrays: ArrayRecord) -> MetricRecord | None:
        last = server_round == plan.rounds or plan.strategy.exhausted
        if server_round % plan.evaluate_every and not last:
            return None
        parameters.load(messages.unpack_parameters(arrays))
        return MetricRecord(dict(plan.task.evaluate(plan.backbone, plan.test)))

    result = plan.strategy.start(
        grid,
        messages.pack_parameters(parameters.read() if plan.progress is None else plan.progress.parameters),
        num_rounds=plan.rounds,
        timeout=plan.client_timeout_s,
        evaluate_fn=evaluate,
    )
    final = messages.unpack_parameters(result.arrays)
    parameters.load(final)
    return Outcome(history=plan.strategy.history, parameters=final)


def _open_here(codec: UpdateCodec, size: int) -> SumOpener:
    decoder = codec.decoder(min_clients=1)

    def opener(grid: Grid, server_round: int, payload: bytes, count: int) -> np.ndarray:
        return decoder.decode_sum(payload, count, size)

    return opener


def make_server_app(
    build_plan: Callable[[str], ServerPlan],
    config: str | None = None,
    finished: Callable[[Outcome], None] | None = None,
) -> ServerApp:
    """Return the ServerApp.

    Args:
        build_plan: makes the plan for a configuration.
        config: the configuration as JSON; None reads it from ``context.run_config``.
        finished: told the outcome, in the server's process.
    """
    app = ServerApp()

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        plan = build_plan(config if config is not None else str(context.run_config[CONFIG_KEY]))
        outcome = serve(grid, plan)
        if finished is not None:
            finished(outcome)

    return app
