"""The configuration of a run that has ended, with other data or another test part put in."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from fedpriv.config.explain import explain
from fedpriv.config.given import compose_given
from fedpriv.config.schema import RunConfig
from fedpriv.errors import UserError

_KEPT = ("mode", "seed", "task", "data", "model", "evaluation")
_OPEN = ("data", "task")


def restored(source: str, saved: Mapping[str, Any], overrides: Sequence[str] = ()) -> RunConfig:
    """Return what of a run's configuration decides data, model and test, changed by ``overrides``.

    Where it was tracked, how it was trained, encrypted and shared out is left at the defaults.

    Args:
        source: where ``saved`` comes from, for messages.
        saved: nested plain values, as logged.
        overrides: ``data=NAME``, ``data.KEY=VALUE``, ``evaluation.KEY=VALUE`` or ``task.KEY=VALUE``.

    Raises:
        UserError: when ``saved`` does not obey the schema, or an override does not parse, does not
            fit, or bears on nothing that an evaluation does.
    """
    schema = OmegaConf.structured(RunConfig)
    try:
        config = cast(DictConfig, OmegaConf.merge(schema, {k: saved[k] for k in _KEPT if k in saved}))
        for group in _OPEN:
            if not isinstance(config[group], DictConfig):
                raise UserError(f"{source}: {group} is no group of settings; choose a run of this fedpriv")
    except OmegaConfBaseException as error:
        raise UserError(f"{source}: {explain(error)}; evaluate it with the fedpriv that made it") from error
    try:
        parsed = OverridesParser.create().parse_overrides(list(overrides))
        # groups first, as Hydra does, so that the order on the command line does not matter
        for override in sorted(parsed, key=lambda override: "." in override.key_or_group):
            _apply(config, override)
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(explain(error)) from error
    return cast(RunConfig, config)


def _apply(config: DictConfig, override: Override) -> None:
    key, text = str(override.key_or_group), str(override.input_line)
    if override.is_sweep_override() or override.is_delete():
        raise UserError(f"{text}: one value is needed here; write {key}=VALUE")
    value: Any = override.value()
    group, _, name = key.partition(".")
    if key == "data":
        if not isinstance(value, str) or not re.fullmatch(r"\w+", value):
            raise UserError(f"{text}: name one data set, e.g. data=lfw; `fedpriv-data list` prints all")
        config.data = compose_given([f"data={value}"]).data
    elif group in (*_OPEN, "evaluation") and name and name != "_target_":
        OmegaConf.update(config, key, value, force_add=group in _OPEN)
    else:
        raise UserError(
            f"{text}: bears on no evaluation; give data=NAME, data.KEY=..., evaluation.KEY=... or "
            "task.KEY=..."
        )
