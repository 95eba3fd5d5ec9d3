"""Differential privacy of a configuration: what contradicts itself, means nothing or is out of reach."""

from fedpriv.config.privacy import build_privacy, turns_of
from fedpriv.config.schema import (
    Clipping,
    Correlation,
    Gradients,
    Mode,
    NoiseBy,
    PrivacyConfig,
    PrivacyUnit,
    RunConfig,
    Scheme,
)
from fedpriv.errors import UserError
from fedpriv.privacy.accounting import LEAST_NOISE
from fedpriv.privacy.adaptive_clipping import VOTE
from fedpriv.privacy.matrix_mechanism import MOST_BANDS
from fedpriv.privacy.plan import plan_for_client


def check_privacy(config: RunConfig) -> None:
    """Check the settings among themselves; :func:`check_plan` needs the data too.

    Raises:
        UserError: for the first that contradicts another or has no effect.
    """
    privacy = config.privacy
    if privacy.unit is PrivacyUnit.none:
        for name in ("epsilon", "delta", "noise_multiplier"):
            if getattr(privacy, name) is not None:
                raise UserError(f"privacy.{name}={getattr(privacy, name)}: has no effect; add privacy=dp_sgd")
    if privacy.unit is not PrivacyUnit.client and privacy.noise_by is not NoiseBy.clients:
        raise UserError(
            f"privacy.noise_by={privacy.noise_by.value}: has no effect; add privacy=client_level secure=bfv"
        )
    _check_correlation(config)
    if privacy.unit is not PrivacyUnit.client and privacy.clipping is not Clipping.fixed:
        raise UserError(
            f"privacy.clipping={privacy.clipping.value}: only client-level privacy has it; use "
            "privacy.clipping=fixed, or privacy=client_level secure=bfv"
        )
    if privacy.unit is not PrivacyUnit.sample and privacy.gradients is not Gradients.auto:
        raise UserError(f"privacy.gradients={privacy.gradients.value}: has no effect; add privacy=dp_sgd")
    if privacy.clipping is Clipping.fixed:
        for name in ("target_quantile", "clipping_rate"):
            if getattr(privacy, name) != getattr(PrivacyConfig(), name):
                raise UserError(
                    f"privacy.{name}={getattr(privacy, name)}: has no effect; add privacy.clipping=adaptive"
                )
    build_privacy(config)
    noise = privacy.noise_multiplier
    if privacy.unit is PrivacyUnit.sample and noise is not None and noise < LEAST_NOISE:
        raise UserError(
            f"privacy.noise_multiplier={noise}: protects nobody, its epsilon is infinite; choose "
            f"{LEAST_NOISE:g} or more"
        )
    if privacy.unit is PrivacyUnit.client:
        _check_client_level(config)


def check_plan(config: RunConfig, whose: str, smallest: int) -> None:
    """Check that every party's privacy can be planned, by the one with fewest images.

    Args:
        config: of the run.
        whose: that party, for the message.
        smallest: its images.

    Raises:
        UserError: when delta is no protection at that size, or the target is out of reach.
    """
    settings = build_privacy(config)
    if settings is None:
        return
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


def _check_correlation(config: RunConfig) -> None:
    """Check what noise that is correlated over rounds needs."""
    privacy = config.privacy
    if privacy.correlation is Correlation.none:
        if privacy.bands is not None:
            raise UserError(f"privacy.bands={privacy.bands}: has no effect; add privacy.correlation=banded")
        return
    if privacy.unit is not PrivacyUnit.client:
        raise UserError(
            "privacy.correlation=banded: only client-level privacy has it; add privacy=client_level "
            "secure=bfv"
        )
    if privacy.noise_by is not NoiseBy.server:
        raise UserError(
            "privacy.correlation=banded: only the server knows the noise of the rounds before; add "
            "privacy.noise_by=server"
        )
    turns = turns_of(config)
    if turns is None:
        raise UserError(
            "privacy.correlation=banded: needs clients that take part in every so many rounds; add "
            "federation.order=cyclic"
        )
    if privacy.bands is not None and not 2 <= privacy.bands <= min(turns, MOST_BANDS):
        raise UserError(
            f"privacy.bands={privacy.bands}: choose 2 to {min(turns, MOST_BANDS)}, as a client takes part in "
            f"one of {turns} rounds; or null for the most"
        )


def _check_client_level(config: RunConfig) -> None:
    """Check what client-level privacy needs, but for its plan."""
    secure, privacy = config.secure, config.privacy
    if config.mode is not Mode.federated:
        lacks = "has no clients" if config.mode is Mode.centralized else "sums nothing over clients"
        raise UserError(
            f"privacy.unit=client: mode={config.mode.value} {lacks}; use privacy=dp_sgd or mode=federated"
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
    if privacy.clipping is Clipping.adaptive and VOTE * privacy.clipping_norm > secure.value_range:
        raise UserError(
            f"secure.value_range={secure.value_range}: too small for the votes of privacy.clipping=adaptive; "
            f"raise it to a third of privacy.clipping_norm={privacy.clipping_norm}, or lower that"
        )
    clients = config.federation.clients
    if privacy.delta is not None and privacy.delta * clients >= 1.0:
        raise UserError(
            f"privacy.delta={privacy.delta}: allows to publish one of {clients} clients outright; choose a "
            f"delta far below 1/{clients}"
        )
