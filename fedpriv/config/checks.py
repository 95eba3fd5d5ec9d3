"""Refusals before anything starts: one line that names the key and the mend."""

import math
import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from fedpriv.config.builders import (
    build_centralized,
    build_data,
    build_largest_head,
    build_privacy,
    build_shares,
    build_strategy,
    codec_of,
    keys_of,
    layout_of,
    max_updates,
    planted_faults,
    policy_of,
    sum_plan_of,
    to_json,
    update_codec_of,
)
from fedpriv.config.schema import (
    EngineName,
    Keys,
    Mode,
    NoiseBy,
    PrivacyUnit,
    RunConfig,
    Scheme,
    SecureConfig,
)
from fedpriv.errors import UserError
from fedpriv.he import provision
from fedpriv.he.selection import selected_count
from fedpriv.privacy.plan import plan_for_client

LEAST_SMUDGING_BITS = 40
LARGEST_MESSAGE_BYTES = 2**31 - 2**20
"""What one message between nodes may hold, its framing apart."""


def check(config: RunConfig) -> None:
    """Check a whole configuration, cheap checks first; builds everything but trains nothing.

    Raises:
        UserError: for the first impossible value or combination.
    """
    _check_numbers(config)
    _check_privacy(config)
    _check_places(config)
    if config.mode is Mode.centralized:
        _check_centralized(config)
    else:
        _check_federation(config)
        _check_secure(config)
        build_strategy(config)
    text = to_json(config)
    _, training, _ = build_data(text)
    if not len(training):
        raise UserError(
            f"data._target_={config.data['_target_']}: all of it is test data; train on another data set and "
            "use `fedpriv evaluate`"
        )
    layout = layout_of(text)  # refuses parts of a model that cannot be averaged
    if config.mode is Mode.federated:
        _check_opening(config, layout.size)
    if config.mode is Mode.centralized:
        whose, smallest = "the training set's", len(training)
    else:
        shares = build_shares(config, training)
        whose, smallest = "the smallest client's", min(map(len, shares))
        update_codec_of(text)  # names of layers that do not exist
        build_largest_head(text, shares)  # one client's people may be more than the task can tell apart
    settings = build_privacy(config)
    if settings is not None:
        if settings.delta * smallest >= 1.0:
            raise UserError(
                f"privacy.delta={settings.delta}: allows to publish one of {whose} {smallest} "
                f"images outright; choose a delta far below 1/{smallest}"
            )
        try:
            plan_for_client(
                settings,
                smallest,
                config.training.batch_size,
                config.training.local_epochs,
                config.federation.rounds,
            )
        except ValueError as error:
            raise UserError(f"privacy.{error}; raise it or lower federation.rounds") from error
    if config.mode is Mode.centralized:
        build_centralized(text)  # one head for all people may be more than the task can make


def _check_numbers(config: RunConfig) -> None:
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


def _require_positive(values: dict[str, float]) -> None:
    for name, value in values.items():
        if not value > 0:
            raise UserError(f"{name}={value}: must be positive")


def _check_federation(config: RunConfig) -> None:
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
            f"federation.min_replies={federation.min_replies}: only {max_updates(config)} clients are asked "
            "per round; lower it"
        )
    planted_faults(config)


def _check_engine(config: RunConfig) -> None:
    engine = config.engine
    if engine.workers is not None and engine.workers < 0:
        raise UserError(f"engine.workers={engine.workers}: must be 0 (this process) or more")
    if engine.threads is not None and engine.threads < 1:
        raise UserError(f"engine.threads={engine.threads}: must be at least 1, or null")
    if not engine.cpus_per_client > 0:
        raise UserError(f"engine.cpus_per_client={engine.cpus_per_client}: must be positive")


def _floats(config: RunConfig) -> Iterator[tuple[str, float]]:
    for group in ("training", "federation", "privacy", "secure", "engine"):
        for name, value in getattr(config, group).items():
            if isinstance(value, float):
                yield f"{group}.{name}", value


def _check_privacy(config: RunConfig) -> None:
    privacy = config.privacy
    if privacy.unit is PrivacyUnit.none:
        for name in ("epsilon", "delta", "noise_multiplier"):
            if getattr(privacy, name) is not None:
                raise UserError(f"privacy.{name}={getattr(privacy, name)}: has no effect; add privacy=dp_sgd")
    if privacy.unit is not PrivacyUnit.client and privacy.noise_by is not NoiseBy.clients:
        raise UserError(
            f"privacy.noise_by={privacy.noise_by.value}: has no effect; add privacy=client_level secure=bfv"
        )
    build_privacy(config)
    if privacy.unit is PrivacyUnit.client:
        _check_client_level(config)


def _check_client_level(config: RunConfig) -> None:
    """Check what client-level privacy needs, but for its plan."""
    secure, privacy = config.secure, config.privacy
    if config.mode is Mode.centralized:
        raise UserError(
            "privacy.unit=client: mode=centralized has no clients; use privacy=dp_sgd or mode=federated"
        )
    if secure.scheme is not Scheme.bfv:
        raise UserError(
            f"privacy.unit=client: secure.scheme={secure.scheme.value} carries no discrete noise; "
            "use secure.scheme=bfv (secure=bfv or secure=bfv_committee)"
        )
    for name, value in (("select", secure.select), ("select_top", secure.select_top)):
        if value is not None:
            raise UserError(
                f"secure.{name}={value}: leaves coordinates without noise, which privacy.unit=client does "
                "not cover; set it to null"
            )
    clients = config.federation.clients
    if privacy.delta is not None and privacy.delta * clients >= 1.0:
        raise UserError(
            f"privacy.delta={privacy.delta}: allows to publish one of {clients} clients outright; choose a "
            f"delta far below 1/{clients}"
        )


def _check_places(config: RunConfig) -> None:
    """Check where the run would be tracked and what it would run on."""
    address = urlsplit(config.tracking.uri or "")
    if address.password is not None:
        raise UserError(
            "tracking.uri: holds a password, which would be written to files; set the variables "
            "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD instead"
        )
    if address.scheme in ("http", "https") and address.query:
        raise UserError(
            "tracking.uri: has a query, which would be written to files and may hold a token; set the "
            "variable MLFLOW_TRACKING_TOKEN instead"
        )
    if not config.tracking.experiment.strip():
        raise UserError("tracking.experiment='': is empty; name one, e.g. tracking.experiment=fedpriv")
    cores = len(os.sched_getaffinity(0))
    federated = config.mode is Mode.federated
    if federated and config.engine.name is EngineName.ray and not 0 < config.engine.cpus_per_client <= cores:
        raise UserError(
            f"engine.cpus_per_client={config.engine.cpus_per_client:g}: there are {cores} cores; lower it"
        )


def _check_centralized(config: RunConfig) -> None:
    if config.secure.scheme is not Scheme.plain:
        raise UserError(
            f"secure.scheme={config.secure.scheme.value}: has no effect, mode=centralized sends no updates; "
            "use secure=none or mode=federated"
        )


def _check_secure(config: RunConfig) -> None:
    secure = config.secure
    if keys_of(config) is Keys.committee and secure.scheme is Scheme.plain:
        raise UserError(
            "secure.keys=committee: has no effect, secure.scheme=plain needs no keys; choose secure=bfv"
        )
    if secure.scheme is Scheme.ckks and secure.values_per_slot is not None:
        raise UserError(
            f"secure.values_per_slot={secure.values_per_slot}: has no effect, secure.scheme=ckks has one "
            "value to a slot; set it to null"
        )
    _check_without_effect(config)
    if not 1e-6 <= secure.value_range <= 1e6:
        raise UserError(f"secure.value_range={secure.value_range}: choose 1e-6 to 1e6")
    _check_selection(config)
    plan = sum_plan_of(config)
    if plan is not None and math.isinf(plan.spent([plan.contributors] * plan.rounds).epsilon):
        raise UserError(
            f"privacy.noise_multiplier={config.privacy.noise_multiplier}: protects nobody, its epsilon is "
            "infinite; raise it"
        )
    codec = codec_of(config)
    if secure.key_folder is not None:
        provision.require(Path(secure.key_folder), config.federation.clients, codec, policy_of(config))
    if not codec.holders:
        return
    if secure.min_clients < 2:
        raise UserError(
            f"secure.min_clients={secure.min_clients}: a sum of one update hides nothing; use 2 or more"
        )
    if secure.min_clients > max_updates(config):
        raise UserError(
            f"secure.min_clients={secure.min_clients}: only {max_updates(config)} clients are asked per "
            "round; raise federation.clients or federation.cohort"
        )
    if config.federation.min_replies < secure.min_clients:
        raise UserError(
            f"federation.min_replies={config.federation.min_replies}: key holders open no sum of fewer "
            f"than secure.min_clients={secure.min_clients}; raise it to that"
        )


def _check_without_effect(config: RunConfig) -> None:
    """Refuse protections that the user believes in and would not get, and those too weak to be any."""
    secure, committee = config.secure, keys_of(config) is Keys.committee
    if secure.scheme is Scheme.plain:
        return
    if not committee and secure.holders != SecureConfig().holders:
        raise UserError(
            f"secure.holders={secure.holders}: has no effect, secure.keys=authority has one key holder; add "
            "secure.keys=committee"
        )
    floods = committee or secure.scheme is Scheme.ckks
    if not floods and secure.smudging_bits != SecureConfig().smudging_bits:
        raise UserError(
            f"secure.smudging_bits={secure.smudging_bits}: has no effect, secure=bfv with one key holder "
            "answers exact integers; leave it out"
        )
    if floods and secure.smudging_bits < LEAST_SMUDGING_BITS:
        raise UserError(
            f"secure.smudging_bits={secure.smudging_bits}: hides too little of the key; choose "
            f"{LEAST_SMUDGING_BITS} or more"
        )


def _check_opening(config: RunConfig, size: int) -> None:
    """Refuse a run whose key holders would be sent more than one message can hold."""
    masks = codec_of(config).mask_bytes(size) * max_updates(config)
    if masks > LARGEST_MESSAGE_BYTES:
        raise UserError(
            f"federation.clients={max_updates(config)}: their updates of {size} parameters are "
            f"{masks / 2**30:.1f} GiB for each key holder of a committee, one message holds 2; use "
            "secure.keys=authority or a smaller federation.cohort"
        )


def _check_selection(config: RunConfig) -> None:
    """Check what selective encryption leaves in clear, but for the names of layers."""
    secure = config.secure
    if secure.select is None and secure.select_top is None:
        return
    field, value = (
        ("select", secure.select) if secure.select_top is None else ("select_top", secure.select_top)
    )
    if secure.scheme is Scheme.plain:
        raise UserError(
            f"secure.{field}={value}: has no effect, secure=none encrypts nothing; choose secure=bfv"
        )
    if secure.select_top is None:
        return
    if secure.select is not None:
        raise UserError(
            f"secure.select_top={secure.select_top}: cannot be combined with secure.select; set one to null"
        )
    selected_count(secure.select_top, 1)
    if config.privacy.unit is not PrivacyUnit.none:
        raise UserError(
            f"secure.select_top={secure.select_top}: sensitivity maps come from the images without noise, "
            f"which privacy.unit={config.privacy.unit.value} does not cover; use secure.select=[...]"
        )
