"""Single values of a configuration: numbers in their ranges, places that can be written to."""

import math
import os
from collections.abc import Iterator

from fedpriv.config.parties import planted_faults
from fedpriv.config.privacy import turns_of
from fedpriv.config.schema import EngineName, Mode, RunConfig
from fedpriv.config.secure import max_updates
from fedpriv.config.tracking_address import refusal_of_address
from fedpriv.errors import UserError
from fedpriv.model_names import check_model_name


def check_numbers(config: RunConfig) -> None:
    """Check that every number lies where it means something, those of clients and encryption apart.

    Raises:
        UserError: for the first that does not.
    """
    federation, training = config.federation, config.training
    for name, value in _floats(config):
        if not math.isfinite(value):
            raise UserError(f"{name}={value}: needs a finite number")
    positive = {
        "federation.rounds": federation.rounds,
        "training.learning_rate": training.learning_rate,
        "training.batch_size": training.batch_size,
        "training.local_epochs": training.local_epochs,
        "evaluation.every": config.evaluation.every,
        "evaluation.test_subjects": config.evaluation.test_subjects,
    }
    _require_positive(positive)
    not_negative = {
        "seed": config.seed,
        "training.weight_decay": training.weight_decay,
        "evaluation.pictures": config.evaluation.pictures,
        "engine.gpus_per_client": config.engine.gpus_per_client,
    }
    for name, value in not_negative.items():
        if value < 0:
            raise UserError(f"{name}={value}: must not be negative")
    if config.seed >= 2**63:
        raise UserError(f"seed={config.seed}: must be below 2^63")
    if not 0 <= training.momentum < 1:
        raise UserError(f"training.momentum={training.momentum}: must lie in [0, 1)")
    _check_engine(config)


def check_federation(config: RunConfig) -> None:
    """Check the numbers of clients, and what they are planted with.

    Raises:
        UserError: for the first that is impossible.
    """
    federation = config.federation
    _require_positive(
        {
            "federation.clients": federation.clients,
            "federation.min_replies": federation.min_replies,
            "federation.client_timeout_s": federation.client_timeout_s,
            "federation.start_timeout_s": federation.start_timeout_s,
        }
    )
    if federation.cohort is not None and not 1 <= federation.cohort <= federation.clients:
        raise UserError(
            f"federation.cohort={federation.cohort}: choose 1 to federation.clients={federation.clients}"
        )
    if federation.min_replies > max_updates(config):
        raise UserError(
            f"federation.min_replies={federation.min_replies}: only {asked(max_updates(config))} per round; "
            "lower it"
        )
    if (turns := turns_of(config)) is not None:
        if turns == 1:
            raise UserError(
                f"federation.order=cyclic: all clients are asked in every round; set federation.cohort below "
                f"federation.clients={federation.clients}"
            )
        smallest = federation.clients // turns
        if federation.min_replies > smallest:
            raise UserError(
                f"federation.min_replies={federation.min_replies}: of the {turns} groups of "
                f"federation.order=cyclic the smallest has {smallest}; lower it to that"
            )
    planted_faults(config)


def asked(clients: int) -> str:
    """Return the words for it, e.g. ``1 client is asked``."""
    return "1 client is asked" if clients == 1 else f"{clients} clients are asked"


def _check_register(config: RunConfig) -> None:
    name, tracking = config.tracking.register, config.tracking
    if name is None:
        return
    check_model_name("tracking.register", name)
    if not tracking.enabled or not tracking.log_model:
        switch = "tracking.log_model=true" if tracking.enabled else "tracking=mlflow"
        raise UserError(f"tracking.register={name}: only a model that is logged is registered; set {switch}")
    if config.mode is Mode.local:
        raise UserError(
            f"tracking.register={name}: mode=local has only the clients' own models; leave it away"
        )


def check_places(config: RunConfig) -> None:
    """Check where the run would be tracked, where its keys are and what it would run on.

    Raises:
        UserError: for the first impossible place; it never repeats a password.
    """
    if (said := refusal_of_address(config.tracking.uri or "")) is not None:
        raise UserError(said)
    _check_register(config)
    if not config.tracking.experiment.strip():
        raise UserError("tracking.experiment='': is empty; name one, e.g. tracking.experiment=fedpriv")
    if config.secure.key_folder is not None and not config.secure.key_folder.strip():
        raise UserError(
            "secure.key_folder='': is empty; name a folder, or null to have keys made for the run"
        )
    cores = len(os.sched_getaffinity(0))
    federated = config.mode is Mode.federated
    if federated and config.engine.name is EngineName.ray and not 0 < config.engine.cpus_per_client <= cores:
        raise UserError(
            f"engine.cpus_per_client={config.engine.cpus_per_client:g}: there are {cores} cores; lower it"
        )


def _check_engine(config: RunConfig) -> None:
    engine = config.engine
    if engine.workers is not None and engine.workers < 0:
        raise UserError(f"engine.workers={engine.workers}: must be 0 (this process) or more")
    if engine.threads is not None and engine.threads < 1:
        raise UserError(f"engine.threads={engine.threads}: must be at least 1, or null")
    if not engine.cpus_per_client > 0:
        raise UserError(f"engine.cpus_per_client={engine.cpus_per_client}: must be positive")


def _require_positive(values: dict[str, float]) -> None:
    for name, value in values.items():
        if not value > 0:
            raise UserError(f"{name}={value}: must be positive")


def _floats(config: RunConfig) -> Iterator[tuple[str, float]]:
    for group in ("training", "federation", "privacy", "secure", "engine"):
        for name, value in getattr(config, group).items():
            if isinstance(value, float):
                yield f"{group}.{name}", value
