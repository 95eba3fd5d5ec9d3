"""``privacy.epsilon=inf``: a run without privacy that stands beside private ones in a sweep over epsilon."""

import functools
import math
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from fedpriv.config.schema import PrivacyConfig, PrivacyUnit, RunConfig

SAID = (
    "privacy.epsilon=inf: as privacy=none; nothing is clipped, no noise is added, nothing charged or claimed"
)
"""What a user is told, in one line."""


def without_infinity(config: RunConfig) -> RunConfig:
    """Return ``config``, with the settings of ``privacy=none`` if its epsilon is infinite.

    Noise that costs an infinite epsilon is none, and clipping alone protects nobody: neither is done,
    nothing is charged to a ledger and nothing is claimed. :func:`fedpriv.config.as_json.typed`, which every
    configuration passes on its way in, calls this: what comes later sees a finite epsilon, or none.

    Guarantee:
        - The result is the configuration that ``privacy=none`` gives, in every value.

    Edge cases:
        - ``unit: none``, a noise multiplier beside the epsilon, and minus infinity stay as they are, for the
          checks to refuse.
    """
    if _infinite(config.privacy):
        config.privacy = OmegaConf.structured(PrivacyConfig)
    return config


def asked_privacy(config: RunConfig) -> dict[str, Any] | None:
    """Return the settings of privacy as they were asked for, where they are replaced; else None.

    A run is recorded with these, so that it groups with the others of its sweep.

    Args:
        config: as composed, before :func:`without_infinity`.
    """
    plain = OmegaConf.to_container(cast(DictConfig, config.privacy), resolve=True, enum_to_str=True)
    asked = OmegaConf.merge(_schema(), plain)
    return cast(dict[str, Any], plain) if _infinite(cast(PrivacyConfig, asked)) else None


@functools.cache
def _schema() -> DictConfig:
    """Return the schema of privacy, to merge into, which copies."""
    return cast(DictConfig, OmegaConf.structured(PrivacyConfig))


def _infinite(privacy: PrivacyConfig) -> bool:
    named = privacy.unit is not PrivacyUnit.none
    return named and privacy.epsilon == math.inf and privacy.noise_multiplier is None
