"""What a client does in a round, as plain functions over a :class:`Site`."""

import time

import numpy as np

from fedpriv.federated import faults
from fedpriv.federated.messages import MessageError, TrainReply, TrainRequest
from fedpriv.federated.site import Site
from fedpriv.he.envelope import Header, seal
from fedpriv.he.packing import NonFiniteUpdate
from fedpriv.seeding import generator
from fedpriv.training.parameters import FlatParameters
from fedpriv.training.party import BudgetSpent, ClientMemory, learns, train_round
from fedpriv.types import FloatVector


def train(site: Site, client: int, request: TrainRequest, memory: ClientMemory) -> TrainReply:
    """Train on the client's data and seal the change of the model.

    The reply carries ``weight * (w_local - w_global)``, sealed. ``memory`` is brought up to date;
    the privacy a round costs is written there before the first noisy step.

    Raises:
        MessageError: ``budget_spent`` when the round would pass the target epsilon,
            ``non_finite`` when training diverged, ``malformed`` for a bad request.
    """
    fault = site.faults.get(client)
    faults.before_training(fault)
    if not 0.0 < request.weight <= 1.0 or request.parameters.shape != (site.parameters.layout.size,):
        raise MessageError("malformed")
    started = time.perf_counter()
    site.parameters.load(request.parameters)
    loss, metrics = _optimise(site, client, request, memory)
    update = site.parameters.change_since(request.parameters)
    trained = time.perf_counter()
    update *= np.float32(request.weight)
    sealed, clipped = _seal(site, client, request, faults.spoil(fault, update))
    metrics |= {
        "examples": float(len(site.shares[client])),
        "train-seconds": trained - started,
        "encrypt-seconds": time.perf_counter() - trained,
        "clipped-fraction": clipped,
    }
    if np.isfinite(loss):
        metrics["train-loss"] = loss
    return TrainReply(site.codec.scheme, sealed, metrics)


def _optimise(
    site: Site, client: int, request: TrainRequest, memory: ClientMemory
) -> tuple[float, dict[str, float]]:
    plan, head = site.plan(client), site.build_head(client)
    kept = FlatParameters(head) if head is not None and learns(head) else None
    if kept is not None and memory.head is not None:
        kept.load(memory.head)
    proximal_mu = request.settings.get("proximal-mu", 0.0)
    try:
        loss = train_round(
            site, client, request.round, head, site.data(client), plan, memory, proximal_mu=proximal_mu
        )
    except BudgetSpent:
        raise MessageError("budget_spent") from None
    if kept is not None:
        memory.head = kept.read()
    if plan is None:
        return loss, {}
    spent = plan.spent(memory.history)
    return loss, {
        "epsilon": spent.epsilon,
        "delta": spent.delta,
        "rdp": float(spent.accountant == "rdp"),
    }


def _seal(site: Site, client: int, request: TrainRequest, update: FloatVector) -> tuple[bytes, float]:
    try:
        encoded = site.codec.encode(update, generator(site.seed, "rounding", client, request.round))
    except NonFiniteUpdate:
        raise MessageError("non_finite") from None
    header = Header(
        scheme=site.codec.scheme,
        run_id=bytes.fromhex(request.run_id),
        round=request.round,
        client=client,
        parameters=len(update),
        layout=site.parameters.layout.digest,
        examples=len(site.shares[client]),
    )
    return seal(header, encoded.payload), encoded.clipped / max(1, len(update))
