"""A configuration from what a user typed after a command that is no Hydra application."""

from collections.abc import Sequence
from typing import cast

import yaml
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from fedpriv.config.builders import typed
from fedpriv.config.compose import compose_run
from fedpriv.config.explain import explain
from fedpriv.config.schema import RunConfig
from fedpriv.errors import UserError


def compose_given(overrides: Sequence[str]) -> RunConfig:
    """Compose and resolve what ``fedpriv run OVERRIDES`` would run.

    Raises:
        UserError: for an override that does not parse, names nothing or does not fit.
    """
    try:
        return typed(cast(DictConfig, compose_run(*overrides)))
    except (HydraException, OmegaConfBaseException, yaml.YAMLError) as error:
        raise UserError(explain(error)) from error
    except ValueError as error:
        if "Config group override" not in str(error):
            raise
        raise UserError("a group is set to null; name one of its choices") from error
