"""The one ServerApp: a thin wrapper around :func:`serve`."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from flwr.app import ArrayRecord, Context, MetricRecord
from flwr.serverapp import Grid, ServerApp
from torch import nn

from fedpriv.data.dataset import ImageDataset
from fedpriv.errors import UserError
from fedpriv.federated import messages
from fedpriv.federated.choosing import with_choice
from fedpriv.federated.client_app import CONFIG_KEY
from fedpriv.federated.key_making import MadeKey, make_key
from fedpriv.federated.listening import Listener
from fedpriv.federated.roster import Roster, discover
from fedpriv.federated.strategy.base import Strategy
from fedpriv.federated.strategy.session import Progress, RunObserver, Session
from fedpriv.federated.strategy.unheard import PlanOf
from fedpriv.he.codec import KeyRefused, UpdateCodec
from fedpriv.he.identity import Enrolment
from fedpriv.he.selective import clear_fraction
from fedpriv.privacy.client_level import ClientLevel
from fedpriv.results import RoundResult
from fedpriv.tasks.base import Task
from fedpriv.training.parameters import FlatParameters
from fedpriv.types import FloatVector

log = logging.getLogger("fedpriv")


@dataclass
class ServerPlan:
    """The server side of a run. It holds no secret key and no training image.

    Attributes:
        run_id: 32 hexadecimal digits, fresh for every run and every resumption of one.
        run_digest: 32 bytes, of the configuration that every node must have been given.
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
        enrolment: everybody's public key.
        strategy: what the server does with them.
        observers: who hears of progress.
        progress: where an interrupted run goes on; None starts it.
        select_top: share of the coordinates to encrypt, the most sensitive ones by all clients' maps;
            None leaves it to the codec.
        client_level: how sums are made noisy and accounted; None without client-level privacy.
        plan_of: what clients of so many examples spend with sample-level privacy; None without.
        listener: hears an audit's canaries; None without.
        turns: see :class:`~fedpriv.federated.strategy.session.Session`.
    """

    run_id: str
    run_digest: bytes
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
    enrolment: Enrolment
    strategy: Strategy
    observers: list[RunObserver] = field(default_factory=list)
    progress: Progress | None = None
    select_top: float | None = None
    client_level: ClientLevel | None = None
    plan_of: PlanOf | None = None
    listener: Listener | None = None
    turns: int | None = None


@dataclass(frozen=True)
class Outcome:
    """What a run leaves: every round's figures and the final model."""

    history: list[RoundResult]
    parameters: FloatVector


def serve(grid: Grid, plan: ServerPlan) -> Outcome:
    """Train ``plan.rounds`` rounds over the nodes behind ``grid``, or those that are left of them.

    Raises:
        UserError: when nodes are missing or not enrolled, a round gets no usable update, or a key
            holder refuses.
    """
    parameters = FlatParameters(plan.backbone)
    roster = discover(grid, plan.clients, plan.codec.holders, plan.start_timeout_s)
    _require_enrolled(roster, plan.enrolment)
    codec, key = _with_key(grid, plan, roster)
    session = Session(
        run_id=plan.run_id,
        run_digest=plan.run_digest,
        seed=plan.seed,
        roster=roster,
        enrolment=plan.enrolment,
        layout=parameters.layout,
        codec=codec,
        cohort=plan.cohort,
        min_replies=plan.min_replies,
        holder_timeout_s=plan.client_timeout_s,
        public_key=None if key is None else key.data,
        key_traffic=0 if key is None else key.traffic,
        key_seconds=0.0 if key is None else key.seconds,
        observers=tuple(plan.observers),
        progress=plan.progress,
        client_level=plan.client_level,
        plan_of=plan.plan_of,
        listener=plan.listener,
        turns=plan.turns,
    )
    if plan.listener is not None and plan.progress is not None and plan.progress.heard is not None:
        plan.listener.go_on(plan.progress.heard)
    if plan.select_top is not None:
        start = parameters.read() if plan.progress is None else plan.progress.parameters
        session = with_choice(grid, session, start, plan.select_top, plan.client_timeout_s)
    if clear := clear_fraction(session.codec):
        log.warning(
            "selective encryption: %.3g %% of every update travel in clear, and the server reads them",
            100 * clear,
        )
    plan.strategy.bind(session)

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


def _require_enrolled(roster: Roster, enrolment: Enrolment) -> None:
    for role, numbers, enrolled in (
        ("client", [member.partition for member in roster.clients], enrolment.clients),
        ("key holder", list(range(len(roster.keyholders))), enrolment.keyholders),
    ):
        for number in numbers:
            if number not in enrolled:
                raise UserError(f"secure.key_folder: {role} {number} is not in its enrolment; enrol it")


def _with_key(grid: Grid, plan: ServerPlan, roster: Roster) -> tuple[UpdateCodec, MadeKey | None]:
    """Return the codec that knows the run's public key, and the key where a committee made it now."""
    key: MadeKey | None = None
    try:
        if plan.codec.needs_public_key:
            key = make_key(grid, plan.run_id, roster.keyholders, plan.client_timeout_s)
        data = b"" if key is None else key.data
        return plan.codec.with_public_key(data, bytes.fromhex(plan.run_id), plan.enrolment), key
    except KeyRefused as error:
        raise UserError(
            f"key making: the joint key does not check ({error.cause}); see the key holders' logs"
        ) from error


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
