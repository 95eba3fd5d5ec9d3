"""Encryption of a configuration: what has no effect, hides too little or does not fit."""

import math
from pathlib import Path

from fedpriv.config.check_values import asked
from fedpriv.config.privacy import sum_plan_of
from fedpriv.config.schema import Keys, PrivacyUnit, RunConfig, Scheme, SecureConfig
from fedpriv.config.secure import codec_of, keys_of, max_updates, policy_of, smudges
from fedpriv.errors import UserError
from fedpriv.he import provision
from fedpriv.he.selection import selected_count

LEAST_SMUDGING_BITS = 40
LARGEST_MESSAGE_BYTES = 2**31 - 2**20
"""What one message between nodes may hold, its framing apart."""


def check_secure(config: RunConfig) -> None:
    """Check scheme, keys, packing and selection, and that the key holders open what rounds are made of.

    Raises:
        UserError: for the first thing that is impossible, weaker than it looks, or without effect.
    """
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
    if plan is not None and math.isinf(plan.planned().epsilon):
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
            f"secure.min_clients={secure.min_clients}: only {asked(max_updates(config))} per round; "
            "raise federation.clients or federation.cohort"
        )
    if config.federation.min_replies < secure.min_clients:
        raise UserError(
            f"federation.min_replies={config.federation.min_replies}: key holders open no sum of fewer "
            f"than secure.min_clients={secure.min_clients}; raise it to that"
        )


def check_opening(config: RunConfig, size: int) -> None:
    """Refuse a run whose key holders would be sent more than one message can hold.

    Args:
        config: of the run.
        size: coordinates of an update.

    Raises:
        UserError: when they would.
    """
    masks = codec_of(config).mask_bytes(size) * max_updates(config)
    if masks > LARGEST_MESSAGE_BYTES:
        raise UserError(
            f"federation.clients={max_updates(config)}: their updates of {size} parameters are "
            f"{masks / 2**30:.1f} GiB for each key holder of a committee, one message holds 2; use "
            "secure.keys=authority or a smaller federation.cohort"
        )


def _check_without_effect(config: RunConfig) -> None:
    """Refuse protections that the user believes in and would not get, and those too weak to be any."""
    secure, committee = config.secure, keys_of(config) is Keys.committee
    if secure.scheme is Scheme.plain:
        return
    if not committee and secure.holders not in (1, SecureConfig().holders):
        raise UserError(
            f"secure.holders={secure.holders}: has no effect, secure.keys=authority has one key holder; add "
            "secure.keys=committee"
        )
    if not smudges(config) and secure.smudging_bits != SecureConfig().smudging_bits:
        raise UserError(
            f"secure.smudging_bits={secure.smudging_bits}: has no effect, secure=bfv with one key holder "
            "answers exact integers; leave it out"
        )
    if smudges(config) and secure.smudging_bits < LEAST_SMUDGING_BITS:
        raise UserError(
            f"secure.smudging_bits={secure.smudging_bits}: hides too little of the key; choose "
            f"{LEAST_SMUDGING_BITS} or more"
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
