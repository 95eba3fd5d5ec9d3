"""Personalisation of a configuration: what is out of range, means nothing or has nobody to do it."""

import math

from fedpriv.config.schema import Layers, Mode, PersonaliseConfig, RunConfig
from fedpriv.errors import UserError


def check_personal(config: RunConfig) -> None:
    """Check the settings among themselves; that every client has images to hold out needs the data.

    Raises:
        UserError: for the first that is impossible or has no effect.
    """
    wanted, group = config.evaluation.personalise, "evaluation.personalise"
    if not wanted.enabled:
        for name, default in vars(PersonaliseConfig()).items():
            if (value := getattr(wanted, name)) != default:
                shown = value.value if isinstance(value, Layers) else value
                raise UserError(f"{group}.{name}={shown}: has no effect; add {group}.enabled=true")
        return
    if config.mode is Mode.centralized:
        raise UserError(f"{group}.enabled=true: mode=centralized has no clients; use mode=federated or local")
    if not 0 < wanted.test_share < 1:
        raise UserError(f"{group}.test_share={wanted.test_share}: must lie between 0 and 1")
    for name, value in (("epochs", wanted.epochs), ("learning_rate", wanted.learning_rate)):
        if value is not None and not 0 < value < math.inf:
            raise UserError(f"{group}.{name}={value}: must be positive and finite")
