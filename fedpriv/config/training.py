"""From a configuration to how parties train: the server's strategy, local steps, alone, for themselves."""

from dataclasses import replace
from typing import cast

from fedpriv.config.as_json import from_json
from fedpriv.config.datasets import build_data, build_own, build_shares
from fedpriv.config.instantiate import instantiate
from fedpriv.config.ledger import build_purse
from fedpriv.config.models import build_backbone
from fedpriv.config.privacy import build_privacy
from fedpriv.config.schema import Mode, RunConfig
from fedpriv.data.dataset import ImageDataset
from fedpriv.federated.strategy.base import Strategy
from fedpriv.training.alone import Alone
from fedpriv.training.centralized import Centralized
from fedpriv.training.data import MOST_BYTES
from fedpriv.training.local import LocalSettings
from fedpriv.training.personalise import Personalisation


def build_strategy(config: RunConfig) -> Strategy:
    """Return the strategy, not yet bound to a session."""
    return cast(Strategy, instantiate("strategy", config.strategy, kind=Strategy))


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
    return _party(text, build_data(text)[1])


def build_alone(text: str) -> Alone:
    """Return who trains without a federation: the one place of ``mode: centralized``, or every client.

    A new one with every call, for training changes it.
    """
    config, training = from_json(text), build_data(text)[1]
    if config.mode is Mode.centralized:
        return Alone([build_centralized(text)])
    shares = build_shares(config, training)
    most = MOST_BYTES // len(shares)  # what one process holds for all of them
    return Alone([_party(text, training.subset(share), client, most) for client, share in enumerate(shares)])


def _party(
    text: str, images: ImageDataset, client: int | None = None, most_bytes: int = MOST_BYTES
) -> Centralized:
    config = from_json(text)
    task, training, test = build_data(text)
    return Centralized(
        seed=config.seed,
        rounds=config.federation.rounds,
        evaluate_every=config.evaluation.every,
        task=task,
        training=images,
        test=test,
        backbone=build_backbone(text),
        local=build_local(config),
        privacy=build_privacy(config),
        purse=build_purse(config, training.name),
        client=client,
        most_bytes=most_bytes,
    )


def build_personalisation(text: str) -> Personalisation | None:
    """Return how every client makes the final model its own, or None without ``evaluation.personalise``."""
    config = from_json(text)
    wanted = config.evaluation.personalise
    if not wanted.enabled:
        return None
    task, training, _ = build_data(text)
    rate = config.training.learning_rate if wanted.learning_rate is None else wanted.learning_rate
    return Personalisation(
        seed=config.seed,
        task=task,
        training=training,
        own=build_own(config, training),
        backbone=build_backbone(text),
        local=replace(build_local(config), learning_rate=rate, local_epochs=wanted.epochs),
        layers=wanted.layers.value,
    )
