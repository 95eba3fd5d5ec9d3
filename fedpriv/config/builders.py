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
from fedpriv.config.schema import EngineName, PrivacyUnit, Protocol, RunConfig
from fedpriv.data import holdout
from fedpriv.data.dataset import ImageDataset
from fedpriv.errors import UserError
from fedpriv.federated import faults
from fedpriv.federated.keyholder import OpenSum
from fedpriv.federated.server_app import ServerPlan
from fedpriv.federated.site import Site
from fedpriv.federated.strategy.base import Strategy
from fedpriv.he.codec import UpdateCodec
from fedpriv.he.registry import build_codec
from fedpriv.privacy.plan import PrivacySettings
from fedpriv.seeding import derive
from fedpriv.tasks.base import Task
from fedpriv.training.centralized import Centralized
from fedpriv.training.local import LocalSettings


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
    """Return the sample-level settings, or None without differential privacy.

    Raises:
        UserError: when delta is missing, or the settings contradict each other.
    """
    privacy = config.privacy
    if privacy.unit is PrivacyUnit.none:
        return None
    if privacy.delta is None:
        raise UserError(
            "privacy.delta: is missing; epsilon means nothing without it, e.g. privacy.delta=1e-5"
        )
    if (privacy.epsilon is None) == (privacy.noise_multiplier is None):
        raise UserError(
            f"privacy.epsilon={privacy.epsilon}, privacy.noise_multiplier={privacy.noise_multiplier}: "
            "need exactly one; set the other to null"
        )
    try:
        return PrivacySettings(
            epsilon=privacy.epsilon,
            delta=privacy.delta,
            noise_multiplier=privacy.noise_multiplier,
            clipping_norm=privacy.clipping_norm,
            noise=privacy.noise.value,
        )
    except ValueError as error:
        raise UserError(f"privacy.{error}") from error


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


def codec_of(config: RunConfig, with_key: bool) -> UpdateCodec:
    """Return the update codec; with its secret key where ``with_key`` and the scheme has one.

    Raises:
        UserError: when the scheme cannot hold the clients, or the key file is missing or wrong.
    """
    secure = config.secure
    options: dict[str, Any] = {}
    if secure.scheme.value != "plain":
        options = {
            "bits": secure.bits,
            "value_range": secure.value_range,
            "values_per_slot": secure.values_per_slot,
        }
    codec = build_codec(secure.scheme.value, max_updates(config), **options)
    if not with_key or not codec.needs_keyholder:
        return codec
    if secure.key_file is None:
        raise UserError("secure.key_file: is missing; this node needs the federation's key")
    from fedpriv.he.bfv import BFVCodec
    from fedpriv.he.keys import load_key

    if not isinstance(codec, BFVCodec):
        raise UserError(f"secure.scheme={secure.scheme.value}: keys are not known for it")
    key = load_key(Path(secure.key_file), codec.parameters)
    return build_codec(secure.scheme.value, max_updates(config), secret_key=key, **options)


def make_key(config: RunConfig, path: Path) -> None:
    """Make the federation's key file for this configuration."""
    from fedpriv.he.bfv import BFVCodec
    from fedpriv.he.keys import generate_key, save_key

    codec = codec_of(config, with_key=False)
    if isinstance(codec, BFVCodec):
        save_key(generate_key(codec.parameters), path)


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
    """Return the client side; one per process and configuration."""
    config = from_json(text)
    task, training, _ = build_data(text)
    shares = build_shares(config, training)
    return Site(
        seed=config.seed,
        rounds=config.federation.rounds,
        task=task,
        training=training,
        shares=shares,
        backbone=build_backbone(text),
        local=build_local(config),
        privacy=build_privacy(config),
        codec=codec_of(config, with_key=True),
        faults=planted_faults(config),
    )


@lru_cache(maxsize=2)
def build_keyholder(text: str) -> OpenSum:
    """Return the function that opens sums; it holds the key."""
    config = from_json(text)
    size = build_site(text).parameters.layout.size
    decoder = codec_of(config, with_key=True).decoder(min_clients=config.secure.min_clients)
    return lambda payload, count: decoder.decode_sum(payload, count, size)


def _turns(config: RunConfig) -> float:
    """How many clients' times a cohort may take: on Ray its clients queue for the actors."""
    if config.engine.name is not EngineName.ray:
        return 1.0
    return 1.0 + max_updates(config)


def build_server_plan(text: str) -> ServerPlan:
    """Return the server side. It reads no key file, whatever the scheme."""
    config = from_json(text)
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
        codec=codec_of(config, with_key=False),
        strategy=build_strategy(config),
    )
