"""What a client does in a round, as plain functions over a :class:`Site`."""

import time
from dataclasses import dataclass, replace

import numpy as np

from fedpriv.federated import faults
from fedpriv.federated.messages import MessageError, TrainReply, TrainRequest
from fedpriv.federated.site import Site
from fedpriv.he.envelope import Header, seal
from fedpriv.he.packing import NonFiniteUpdate
from fedpriv.privacy.accounting import History
from fedpriv.privacy.noise import FastSource, RandomSource, SecureSource
from fedpriv.seeding import derive, generator
from fedpriv.training.local import train_plain, train_private
from fedpriv.training.parameters import FlatParameters
from fedpriv.types import FloatVector


@dataclass
class ClientMemory:
    """What a client keeps between rounds and shares with nobody.

    Attributes:
        history: privacy spent in this run so far.
        head: parameters of its private head, or None before its first round.
    """

    history: History = ()
    head: FloatVector | None = None


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
    data, plan = site.data(client), site.plan(client)
    seed = derive(site.seed, "client", client, request.round)
    local = replace(
        site.local.at_round(request.round, site.rounds),
        proximal_mu=request.settings.get("proximal-mu", 0.0),
    )
    head = site.build_head(client)
    head_parameters = None if head is None else FlatParameters(head)
    if head_parameters is not None and memory.head is not None:
        head_parameters.load(memory.head)
    metrics: dict[str, float] = {}
    if plan is None:
        loss = train_plain(site.task, site.backbone, head, data, local, seed)
    else:
        if not plan.may_train(memory.history):
            raise MessageError("budget_spent")
        memory.history = plan.after_round(memory.history)
        source: RandomSource = (
            SecureSource()
            if site.privacy is None or site.privacy.noise == "secure"
            else FastSource(site.seed, client, request.round)
        )
        loss = train_private(site.task, site.backbone, head, data, local, plan, source, seed)
        spent = plan.spent(memory.history)
        metrics = {"epsilon": spent.epsilon, "delta": spent.delta, "rdp": float(spent.accountant == "rdp")}
    if head_parameters is not None:
        memory.head = head_parameters.read()
    return loss, metrics


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
