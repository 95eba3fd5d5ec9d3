"""From a configuration to encryption: the codec of updates, the terms on offer, the folder of keys."""

from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig

from fedpriv.config.as_json import from_json
from fedpriv.config.models import build_backbone
from fedpriv.config.privacy import sum_plan_of
from fedpriv.config.schema import Keys, PrivacyUnit, RunConfig, Scheme
from fedpriv.errors import UserError
from fedpriv.he.codec import UpdateCodec
from fedpriv.he.policy import Policy
from fedpriv.he.registry import build_codec
from fedpriv.he.selection import select_layers
from fedpriv.he.selective import select
from fedpriv.training.parameters import FlatParameters


def max_updates(config: RunConfig) -> int:
    """Return the most updates that one round can sum."""
    clients = config.federation.clients
    return min(clients, config.federation.cohort or clients)


def keys_of(config: RunConfig) -> Keys:
    """Return ``secure.keys``, which as an attribute is a method of the mapping."""
    return cast(Keys, cast(DictConfig, config.secure)["keys"])


def smudges(config: RunConfig) -> bool:
    """Whether key holders hide the ciphertexts' noise: ``secure.smudging_bits`` counts nothing elsewhere."""
    if config.secure.scheme is Scheme.plain:
        return False
    return keys_of(config) is Keys.committee or config.secure.scheme is Scheme.ckks


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
