"""What a client does in a round, as plain functions over a :class:`Site`."""

import time

import numpy as np

from fedpriv.federated import clipping, faults
from fedpriv.federated.messages import MessageError, TrainReply, TrainRequest
from fedpriv.federated.site import Site
from fedpriv.federated.start import Kind, codec_of_run, start_digest
from fedpriv.he.codec import KeyRefused, UpdateCodec
from fedpriv.he.envelope import Draft, Header
from fedpriv.he.identity import SigningKey
from fedpriv.he.packing import NonFiniteUpdate
from fedpriv.he.packing_plan import coarse_fraction
from fedpriv.privacy import accounting
from fedpriv.privacy.charge import Concentrated, SampledGaussian
from fedpriv.privacy.client_level import ClientLevel
from fedpriv.privacy.party_of_run import PartyOfRun
from fedpriv.privacy.purse import BudgetSpent
from fedpriv.seeding import derive, generator
from fedpriv.training.parameters import FlatParameters
from fedpriv.training.party import ClientMemory, learns, train_round
from fedpriv.training.sensitivity import sensitivity_map
from fedpriv.types import FloatVector


def train(site: Site, client: int, request: TrainRequest, memory: ClientMemory) -> TrainReply:
    """Train on the client's data and seal the change of the model.

    The reply carries ``weight * (w_local - w_global)``, encoded, and signed by the client together
    with what it is and what it was made from. ``memory`` is brought up to date; the privacy a round
    costs is written there before the first noisy step, and in the site's ledger before it is in the
    reply. With client-level privacy the weighted change is clipped, and the codec adds the client's share
    of the noise.

    Raises:
        MessageError: ``budget_spent`` when the round would pass the target epsilon, or what all runs may
            spend, or, with client-level privacy, is none of the planned ones, ``too_soon`` when it comes
            before this client's turn, on which client-level privacy may rest,
            ``non_finite`` when training diverged, ``malformed`` for a bad request, ``wrong_run``
            for one of another run, ``wrong_round`` before the first, ``wrong_selection`` for another
            choice of coordinates to encrypt than before, or the cause for which a joint key was refused.
    """
    if request.round < 1:
        # round 0 is that of the sensitivity maps: an update among them could be told from their sum
        raise MessageError("wrong_round")
    fault, level = site.faults.get(client), site.client_level
    faults.before_training(fault)
    if level is not None and request.round > site.rounds:
        # key holders open each round once: so much, and no more, is the noise planned for
        raise MessageError("budget_spent")
    if level is not None and not level.plan.apart(memory.last_round, request.round):
        raise MessageError("too_soon")
    clip = clipping.clipper(level, request.settings)
    # before any privacy is spent: without keys the update would be lost
    codec, signer = _checked(site, client, request)
    if site.selection is not None:
        codec = site.selection.codec(codec, request.selection)
    if level is not None and not site.may_pay(client, _release(level), request.round):
        # before the work of a round: the charge itself, when there is something to release, asks again
        raise MessageError("budget_spent")
    started = time.perf_counter()
    site.parameters.load(request.parameters)
    loss, metrics = _optimise(site, client, request, memory)
    update = site.parameters.change_since(request.parameters)
    trained = time.perf_counter()
    update *= np.float32(request.weight)
    update = faults.spoil(fault, update)
    update = clip(update)
    memory.last_round = request.round
    sealed, clipped = _seal_paid(site, codec, signer, client, request, update)
    metrics |= {
        "examples": float(len(site.shares[client])),
        "train-seconds": trained - started,
        "encrypt-seconds": time.perf_counter() - trained,
        "clipped-fraction": clipped,
    }
    if codec.step and level is None:
        # not beside the noise of client-level privacy, which is meant to drown single coordinates
        metrics["coarse-fraction"] = coarse_fraction(update, codec.step)
    if np.isfinite(loss):
        metrics["train-loss"] = loss
    return TrainReply(codec.scheme, sealed, metrics)


def sensitivity(site: Site, client: int, request: TrainRequest) -> TrainReply:
    """Compute the client's sensitivity map and seal it whole, as round 0.

    The reply carries ``weight * map_scale * map`` of :func:`fedpriv.training.sensitivity.sensitivity_map`.
    The map is computed from the images themselves: differential privacy does not cover it.

    Raises:
        MessageError: ``wrong_selection`` when the configuration asks for no map, ``non_finite`` when it
            cannot be computed, and the causes of :func:`train`.
    """
    private = site.privacy is not None or site.client_level is not None
    if site.selection is None or request.round != 0 or private:
        raise MessageError("wrong_selection")
    codec, signer = _checked(site, client, request)
    started = time.perf_counter()
    site.parameters.load(request.parameters)
    try:
        made = sensitivity_map(
            site.task,
            site.backbone,
            site.build_head(client),
            site.data(client),
            derive(site.seed, "sensitivity", client),
        )
    except ValueError:
        raise MessageError("non_finite") from None
    computed = time.perf_counter()
    made *= np.float32(request.weight * site.map_scale)
    sealed, clipped = _seal(site, codec, signer, client, request, made, kind="map")
    figures = {
        "examples": float(len(site.shares[client])),
        "train-seconds": computed - started,
        "encrypt-seconds": time.perf_counter() - computed,
        "clipped-fraction": clipped,
    }
    return TrainReply(codec.scheme, sealed, figures)


def _checked(site: Site, client: int, request: TrainRequest) -> tuple[UpdateCodec, SigningKey]:
    """Return the client's keys, if the request is one for it."""
    if not 0.0 < request.weight <= 1.0 or request.parameters.shape != (site.parameters.layout.size,):
        raise MessageError("malformed")
    if request.run_id != site.run_id:
        raise MessageError("wrong_run")
    try:
        return site.codec_for(client, request.public_key), site.signer(client)
    except KeyRefused as error:
        raise MessageError(error.cause) from None


def _optimise(
    site: Site, client: int, request: TrainRequest, memory: ClientMemory
) -> tuple[float, dict[str, float]]:
    plan, head = site.plan(client), site.build_head(client)
    kept = FlatParameters(head) if head is not None and learns(head) else None
    if kept is not None and memory.head is not None:
        kept.load(memory.head)
    proximal_mu = request.settings.get("proximal-mu", 0.0)

    def judge(charged: PartyOfRun) -> None:
        # another process may have trained this client since the memory was written
        memory.history = accounting.at_least(memory.history, charged.history)
        if plan is not None and not plan.may_train(memory.history):
            raise BudgetSpent

    try:
        loss = train_round(
            site,
            client,
            request.round,
            head,
            site.data(client),
            plan,
            memory,
            proximal_mu=proximal_mu,
            paying=None
            if plan is None
            else site.paying(client, SampledGaussian.of_round(plan), request.round, judge),
            canaries=site.canaries_of(client),
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


def _seal_paid(
    site: Site,
    codec: UpdateCodec,
    signer: SigningKey,
    client: int,
    request: TrainRequest,
    update: FloatVector,
) -> tuple[bytes, float]:
    """Seal an update; what client-level privacy makes of it is in the ledger before it leaves."""
    level = site.client_level
    if level is None:
        return _seal(site, codec, signer, client, request, update)

    def judge(charged: PartyOfRun) -> None:
        # another process may have served this client since the memory was written
        if not level.plan.apart(charged.last_rounds.get(site.resumed_as), request.round):
            raise MessageError("too_soon")

    try:
        with site.paying(client, _release(level), request.round, judge):
            return _seal(site, codec, signer, client, request, update)
    except BudgetSpent:
        raise MessageError("budget_spent") from None


def _release(level: ClientLevel) -> Concentrated:
    """Return what an update is charged as: with no more noise than is certain to be in the sum.

    That is whoever else replies, and whoever draws it.
    """
    return Concentrated.of_release(level.plan, level.plan.contributors)


def _seal(
    site: Site,
    codec: UpdateCodec,
    signer: SigningKey,
    client: int,
    request: TrainRequest,
    update: FloatVector,
    kind: Kind = "update",
) -> tuple[bytes, float]:
    level, canaries = site.client_level, site.canaries_of(client)
    noise = None if level is None else level.source(client, request.round)
    if level is not None and canaries is not None:
        codec = codec.carrying(clipping.clipped_canaries(level, canaries))
    rounding = generator(site.seed, "rounding", client, request.round)
    draft = Draft(codec.mask_bytes(len(update)), codec.body_bytes(len(update)))
    try:
        clipped = codec.encode_into(update, draft.mask, draft.body, rounding, noise)
    except NonFiniteUpdate:
        raise MessageError("non_finite") from None
    header = Header(
        scheme=codec.scheme,
        run_id=bytes.fromhex(request.run_id),
        round=request.round,
        client=client,
        parameters=len(update),
        layout=site.parameters.layout.digest,
        start=start_digest(site.run_digest, request.parameters, request.settings, kind),
        codec=codec_of_run(codec.digest, site.run_digest),
        examples=len(site.shares[client]),
        weight=request.weight,
    )
    return draft.seal(header, signer), clipped / len(update)
