"""A configuration from what a user typed after a command that is no Hydra application."""

from collections.abc import Sequence
from typing import cast

import yaml
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from fedpriv.config.as_json import typed
from fedpriv.config.compose import CONFIGS, compose_run
from fedpriv.config.explain import explain, explain_group
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
        line = explain_group(error, overrides, CONFIGS)
        if line is None:
            raise
        raise UserError(line) from error
