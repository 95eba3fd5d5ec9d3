"""From a configuration to the objects of a run: the client's side, the server's, the key holder's."""

import json
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf
from torch import nn

from fedpriv.config.instantiate import instantiate
from fedpriv.config.schema import (
    EngineName,
    Keys,
    NoiseBy,
    NoiseSource,
    PrivacyUnit,
    Protocol,
    RunConfig,
    Scheme,
)
from fedpriv.data import holdout
from fedpriv.data.dataset import ImageDataset
from fedpriv.errors import UserError
from fedpriv.federated import faults
from fedpriv.federated.client_app import Keyholder, KeyMaker
from fedpriv.federated.keyholder import KeyHolder
from fedpriv.federated.selection import SelectingKeyHolder, Selection
from fedpriv.federated.server_app import ServerPlan
from fedpriv.federated.site import Site
from fedpriv.federated.strategy.base import Strategy
from fedpriv.he import provision
from fedpriv.he.codec import UpdateCodec
from fedpriv.he.identity import SigningKey
from fedpriv.he.policy import Policy
from fedpriv.he.registry import build_codec
from fedpriv.he.selection import select_layers
from fedpriv.he.selective import select
from fedpriv.he.transcript import Transcript
from fedpriv.privacy.client_level import ClientLevel
from fedpriv.privacy.plan import PrivacySettings
from fedpriv.privacy.sum_plan import SumPlan, plan_sum
from fedpriv.seeding import derive
from fedpriv.tasks.base import Task
from fedpriv.training.centralized import Centralized
from fedpriv.training.local import LocalSettings
from fedpriv.training.parameters import FlatParameters, ParameterLayout


def to_json(config: RunConfig) -> str:
    """Serialise a resolved configuration: what every node of a run gets, whatever the engine.

    Where the run is tracked stays with the server: nodes get the defaults.
    """
    plain = OmegaConf.to_container(cast(DictConfig, config), resolve=True, enum_to_str=True)
    return json.dumps({**cast(dict[str, Any], plain), "tracking": {}})


def typed(config: DictConfig) -> RunConfig:
    """Return a resolved copy of ``config`` that obeys the schema."""
    plain = OmegaConf.to_container(config, resolve=True)
    return cast(RunConfig, OmegaConf.merge(OmegaConf.structured(RunConfig), plain))


@lru_cache(maxsize=2)
def from_json(text: str) -> RunConfig:
    """Read what :func:`to_json` wrote, checked against the schema again."""
    return cast(RunConfig, OmegaConf.merge(OmegaConf.structured(RunConfig), json.loads(text)))


@lru_cache(maxsize=2)
def build_data(text: str) -> tuple[Task, ImageDataset, ImageDataset]:
    """Return the task, the images to train on, and those to test with."""
    config = from_json(text)
    # keyed by what decides it, so that a check and the run after it load the images once
    dataset = _load(json.dumps(OmegaConf.to_container(config.data), sort_keys=True))
    task = cast(Task, instantiate("task", config.task, kind=Task))
    training, test = hold_out(config, dataset)
    return task, training, test


def protocol_of(config: RunConfig, dataset: ImageDataset) -> Protocol:
    """Return which images test the model: ``evaluation.protocol``, with ``auto`` decided by the data.

    Raises:
        UserError: when the data are pairs to test with and nothing else.
    """
    chosen = config.evaluation.protocol
    if chosen is Protocol.auto:
        chosen = Protocol.published if holdout.publishes_split(dataset) else Protocol.people
    if dataset.pairs is not None and chosen is not Protocol.published:
        raise UserError(
            f"evaluation.protocol={chosen.value}: data={dataset.name} publishes pairs to test with and "
            "nothing to train on; use published"
        )
    return chosen


def hold_out(config: RunConfig, dataset: ImageDataset) -> holdout.Parts:
    """Return (images to train on, images to test with) as :func:`protocol_of` says."""
    evaluation, protocol = config.evaluation, protocol_of(config, dataset)
    if protocol is Protocol.one_person:
        return holdout.one_person(dataset, evaluation.fold)
    if protocol is Protocol.folds:
        return holdout.subject_fold(dataset, evaluation.fold, evaluation.folds)
    if protocol is Protocol.published:
        return holdout.published(dataset)
    return holdout.unseen_people(dataset, evaluation.test_subjects, config.seed)


@lru_cache(maxsize=1)
def _load(spec: str) -> ImageDataset:
    return cast(ImageDataset, instantiate("data", json.loads(spec), kind=ImageDataset))


def build_shares(config: RunConfig, training: ImageDataset) -> list[NDArray[np.int64]]:
    """Return each client's indices into the training images."""
    return cast(
        list[NDArray[np.int64]],
        instantiate(
            "partition",
            config.partition,
            kind=list[NDArray[np.int64]],
            dataset=training,
            clients=config.federation.clients,
            seed=config.seed,
        ),
    )


def build_backbone(text: str) -> nn.Module:
    """Return the model with the initial parameters that the run's seed gives, alike on every node."""
    config = from_json(text)
    task, training, _ = build_data(text)
    task.check(training)
    given: dict[str, Any] = {"in_shape": training.image_shape}
    if (outputs := task.outputs(training)) is not None:
        given["outputs"] = outputs
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(config.seed, "model") % 2**63)
        return cast(nn.Module, instantiate("model", config.model, kind=nn.Module, **given))


def build_largest_head(text: str, shares: list[NDArray[np.int64]]) -> None:
    """Build, and drop, the private head of the client with most people.

    Raises:
        UserError: when the task cannot.
    """
    task, training, _ = build_data(text)
    if type(task).build_head is Task.build_head:
        return
    largest = max(shares, key=lambda share: len(np.unique(training.subjects[share])))
    with torch.random.fork_rng(devices=[]):
        task.build_head(training.subset(largest), int(getattr(build_backbone(text), "features", 0)))


def build_strategy(config: RunConfig) -> Strategy:
    """Return the strategy, not yet bound to a session."""
    return cast(Strategy, instantiate("strategy", config.strategy, kind=Strategy))


def build_privacy(config: RunConfig) -> PrivacySettings | None:
    """Return the sample-level settings, or None without differential privacy at that level.

    Raises:
        UserError: when delta is missing, or the settings contradict each other.
    """
    privacy = config.privacy
    if privacy.unit is not PrivacyUnit.sample:
        return None
    try:
        return PrivacySettings(
            epsilon=privacy.epsilon,
            delta=_stated_delta(config),
            noise_multiplier=privacy.noise_multiplier,
            clipping_norm=privacy.clipping_norm,
            noise=privacy.noise.value,
        )
    except ValueError as error:
        raise UserError(f"privacy.{error}") from error


def build_client_level(config: RunConfig) -> ClientLevel | None:
    """Return the client-level privacy of a run, or None without.

    Raises:
        UserError: when the target is out of reach, or the settings contradict each other.
    """
    plan = sum_plan_of(config)
    if plan is None:
        return None
    return ClientLevel(plan, config.seed if config.privacy.noise is NoiseSource.fast else None)


def sum_plan_of(config: RunConfig) -> SumPlan | None:
    """Return the plan of a run's noisy sums; None without client-level privacy.

    With ``privacy.noise_by=clients`` every round has the noise of at least ``federation.min_replies``
    clients.

    Raises:
        UserError: see :func:`build_client_level`.
    """
    if config.privacy.unit is not PrivacyUnit.client:
        return None
    # keys and run have no part in it: one plan, and one table of its noise, for a whole process
    plain = json.loads(to_json(config))
    plain["run_id"] = plain["secure"]["key_folder"] = None
    return _sum_plan(json.dumps(plain))


@lru_cache(maxsize=2)
def _sum_plan(text: str) -> SumPlan:
    from fedpriv.he.packing_plan import quantisation_step  # on use: a plain run needs no encryption

    config = from_json(text)
    privacy, federation = config.privacy, config.federation
    try:
        return plan_sum(
            clipping_norm=privacy.clipping_norm,
            step=quantisation_step(config.secure.bits, config.secure.value_range),
            dimension=layout_of(text).size,
            contributors=federation.min_replies if privacy.noise_by is NoiseBy.clients else 1,
            rounds=federation.rounds,
            delta=_stated_delta(config),
            epsilon=privacy.epsilon,
            noise_multiplier=privacy.noise_multiplier,
            where=privacy.noise_by.value,
        )
    except ValueError as error:
        raise UserError(f"privacy.{error}") from error


def _stated_delta(config: RunConfig) -> float:
    """Return delta, once it and one of epsilon and noise_multiplier are there.

    Raises:
        UserError: otherwise.
    """
    privacy = config.privacy
    if privacy.delta is None:
        raise UserError(
            "privacy.delta: is missing; epsilon means nothing without it, e.g. privacy.delta=1e-5"
        )
    if (privacy.epsilon is None) == (privacy.noise_multiplier is None):
        raise UserError(
            f"privacy.epsilon={privacy.epsilon}, privacy.noise_multiplier={privacy.noise_multiplier}: "
            "need exactly one; set the other to null"
        )
    return privacy.delta


def layout_of(text: str) -> ParameterLayout:
    """Return the layout of the federated parameters.

    Raises:
        UserError: when the model has what cannot be averaged.
    """
    try:
        return FlatParameters(build_backbone(text)).layout
    except ValueError as error:
        raise UserError(f"model._target_={from_json(text).model['_target_']}: {error}") from error


def max_updates(config: RunConfig) -> int:
    """Return the most updates that one round can sum."""
    clients = config.federation.clients
    return min(clients, config.federation.cohort or clients)


def planted_faults(config: RunConfig) -> dict[int, str]:
    """Return the planted fault of each client that has one, from ``["2:raise", "3:nan"]``.

    Raises:
        UserError: for an unknown kind or client.
    """
    planted = {}
    for text in config.federation.faults:
        client, _, kind = text.partition(":")
        if not client.isdecimal() or int(client) >= config.federation.clients or kind not in faults.KINDS:
            raise UserError(
                f"federation.faults={text}: needs CLIENT:KIND with a client below "
                f"{config.federation.clients} and a kind of {', '.join(faults.KINDS)}"
            )
        planted[int(client)] = kind
    return planted


def keys_of(config: RunConfig) -> Keys:
    """Return ``secure.keys``, which as an attribute is a method of the mapping."""
    return cast(Keys, cast(DictConfig, config.secure)["keys"])


def codec_of(config: RunConfig) -> UpdateCodec:
    """Return the update codec, without any key.

    Raises:
        UserError: when the scheme cannot hold the clients.
    """
    secure = config.secure
    options: dict[str, Any] = {}
    if secure.scheme is not Scheme.plain:
        options = {
            "keys": keys_of(config).value,
            "holders": secure.holders,
            "bits": secure.bits,
            "value_range": secure.value_range,
            "values_per_slot": secure.values_per_slot,
            "smudging_bits": secure.smudging_bits,
            "noise": sum_plan_of(config),
        }
    return build_codec(secure.scheme.value, _most_summed(config), **options)


def update_codec_of(text: str) -> UpdateCodec:
    """Return :func:`codec_of`, around the layers that ``secure.select`` names where it does.

    Raises:
        UserError: as :func:`codec_of`, or for a pattern that matches no layer.
    """
    config = from_json(text)
    codec = codec_of(config)
    if config.secure.select is None:
        return codec
    layout = FlatParameters(build_backbone(text)).layout
    return select(codec, select_layers(layout.names, layout.shapes, list(config.secure.select)))


def _most_summed(config: RunConfig) -> int:
    """Return the most envelopes in one sum: sensitivity maps come from every client."""
    return max_updates(config) if config.secure.select_top is None else config.federation.clients


def _selection(config: RunConfig, length: int) -> Selection | None:
    share = config.secure.select_top
    return None if share is None else Selection(share, length)


def policy_of(config: RunConfig) -> Policy:
    """Return the terms that a configuration offers: what a simulation enrols, and what parties judge.

    An epsilon that follows from ``privacy.noise_multiplier`` is none that is offered.

    Raises:
        UserError: when a value is out of its range.
    """
    secure, privacy, who = config.secure, config.privacy, keys_of(config)
    private = privacy.unit is not PrivacyUnit.none
    encrypted_for = secure.holders if who is Keys.committee else 1
    return Policy(
        scheme=secure.scheme.value,
        keys=who.value,
        holders=0 if secure.scheme is Scheme.plain else encrypted_for,
        min_clients=secure.min_clients,
        smudging_bits=secure.smudging_bits,
        clear=secure.select is not None or secure.select_top is not None,
        unit=privacy.unit.value,
        noise=privacy.noise.value,
        noise_by=privacy.noise_by.value,
        epsilon=privacy.epsilon if private and privacy.delta is not None else None,
        delta=privacy.delta if private else None,
    )


def key_folder_of(config: RunConfig) -> Path:
    """Return the folder of keys.

    Raises:
        UserError: when the configuration names none; runs in one place have one made.
    """
    if config.secure.key_folder is None:
        raise UserError("secure.key_folder: is missing; this node finds its keys and the enrolment there")
    return Path(config.secure.key_folder)


def build_local(config: RunConfig) -> LocalSettings:
    """Return how a party optimises."""
    settings = config.training
    return LocalSettings(
        optimizer=settings.optimizer.value,
        learning_rate=settings.learning_rate,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
        batch_size=settings.batch_size,
        local_epochs=settings.local_epochs,
        schedule=settings.schedule.value,
    )


def build_centralized(text: str) -> Centralized:
    """Return what ``mode: centralized`` trains; a new one with every call, for training changes it."""
    config = from_json(text)
    task, training, test = build_data(text)
    return Centralized(
        seed=config.seed,
        rounds=config.federation.rounds,
        evaluate_every=config.evaluation.every,
        task=task,
        training=training,
        test=test,
        backbone=build_backbone(text),
        local=build_local(config),
        privacy=build_privacy(config),
    )


@lru_cache(maxsize=2)
def build_site(text: str) -> Site:
    """Return the client side; one per process and configuration.

    Raises:
        UserError: when the configuration is weaker than the enrolment's policy, before all else.
    """
    config = from_json(text)
    if config.secure.key_folder is not None:  # without one nobody can sign, so nothing is trained
        provision.enrolment_for(key_folder_of(config), policy_of(config))
    task, training, _ = build_data(text)
    shares = build_shares(config, training)
    backbone = build_backbone(text)
    return Site(
        run_id=config.run_id or "",
        seed=config.seed,
        rounds=config.federation.rounds,
        task=task,
        training=training,
        shares=shares,
        backbone=backbone,
        local=build_local(config),
        privacy=build_privacy(config),
        codec=update_codec_of(text),
        key_folder=None if config.secure.key_folder is None else Path(config.secure.key_folder),
        faults=planted_faults(config),
        selection=_selection(config, FlatParameters(backbone).layout.size),
        map_scale=min(1.0, config.secure.value_range),
        client_level=build_client_level(config),
    )


@lru_cache(maxsize=32)
def build_keyholder(text: str, number: int) -> Keyholder:
    """Return key holder ``number``, with its key; one per process and configuration.

    Raises:
        UserError: when the configuration is weaker than the enrolment's policy, before all else, or its
            key or transcript is missing, damaged or another run's.
    """
    config = from_json(text)
    folder = key_folder_of(config)
    enrolment = provision.enrolment_for(folder, policy_of(config))
    codec = update_codec_of(text)
    party = provision.keyholder_folder(folder, number)
    layout, noise = FlatParameters(build_backbone(text)).layout, sum_plan_of(config)
    transcript = Transcript(provision.transcript_file(party))
    signer = SigningKey.load(provision.signing_key_file(party))

    def around(codec: UpdateCodec, max_clients: int) -> KeyHolder:
        return KeyHolder(
            number=number,
            holder=codec.holder(party),
            codec=codec,
            enrolment=enrolment,
            transcript=transcript,
            run_id=bytes.fromhex(config.run_id or ""),
            parameters=layout.size,
            layout=layout.digest,
            # fewer would not bring the noise that the plan counts on, whatever the server says
            min_clients=max(config.secure.min_clients, 1 if noise is None else noise.contributors),
            max_clients=max_clients,
            signer=signer,
        )

    selection = _selection(config, layout.size)
    if selection is None:
        return around(codec, max_updates(config))
    whole = around(codec, config.federation.clients)
    return SelectingKeyHolder(whole, selection, codec, lambda chosen: around(chosen, max_updates(config)))


@lru_cache(maxsize=32)
def build_key_maker(text: str, number: int) -> KeyMaker:
    """Return key holder ``number`` as a member of the committee that makes the run's key.

    Raises:
        UserError: when the configuration is weaker than the enrolment's policy, before all else, its
            signing key or the enrolment is missing or damaged, or there is no committee.
    """
    from fedpriv.he.committee import CommitteeCodec  # on use: a plain run needs no encryption library

    config = from_json(text)
    folder = key_folder_of(config)
    enrolment = provision.enrolment_for(folder, policy_of(config))
    codec = codec_of(config)
    if not isinstance(codec, CommitteeCodec):
        raise UserError(f"secure.keys={keys_of(config).value}: makes no key; use secure.keys=committee")
    party = provision.keyholder_folder(folder, number)
    return codec.member(
        party,
        number,
        bytes.fromhex(config.run_id or ""),
        SigningKey.load(provision.signing_key_file(party)),
        enrolment,
    )


def _turns(config: RunConfig) -> float:
    """How many clients' times a cohort may take: on Ray its clients queue for the actors."""
    if config.engine.name is not EngineName.ray:
        return 1.0
    return 1.0 + max_updates(config)


def build_server_plan(text: str) -> ServerPlan:
    """Return the server side. Of the key folder it reads the enrolment and nothing else.

    Raises:
        UserError: when the configuration is weaker than the enrolment's policy: nobody would take part.
    """
    config = from_json(text)
    enrolment = provision.enrolment_for(key_folder_of(config), policy_of(config))
    task, _, test = build_data(text)
    federation = config.federation
    return ServerPlan(
        run_id=config.run_id or "",
        seed=config.seed,
        clients=federation.clients,
        rounds=federation.rounds,
        cohort=federation.cohort,
        min_replies=federation.min_replies,
        client_timeout_s=federation.client_timeout_s * _turns(config),
        start_timeout_s=federation.start_timeout_s,
        evaluate_every=config.evaluation.every,
        task=task,
        test=test,
        backbone=build_backbone(text),
        codec=update_codec_of(text),
        enrolment=enrolment,
        strategy=build_strategy(config),
        select_top=config.secure.select_top,
        client_level=build_client_level(config),
    )
