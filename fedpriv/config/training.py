"""From a configuration to how parties train: the server's strategy, local steps, all in one place."""

from typing import cast

from fedpriv.config.as_json import from_json
from fedpriv.config.datasets import build_data
from fedpriv.config.instantiate import instantiate
from fedpriv.config.ledger import build_purse
from fedpriv.config.models import build_backbone
from fedpriv.config.privacy import build_privacy
from fedpriv.config.schema import RunConfig
from fedpriv.federated.strategy.base import Strategy
from fedpriv.training.centralized import Centralized
from fedpriv.training.local import LocalSettings


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
        purse=build_purse(config, training.name),
    )
