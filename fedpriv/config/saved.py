"""The configuration of a run that has ended, with other data or another test part put in."""

import re
from collections.abc import Mapping, Sequence
from importlib import import_module
from inspect import signature
from typing import Any, cast

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from fedpriv.config.as_json import typed
from fedpriv.config.explain import explain
from fedpriv.config.given import compose_given
from fedpriv.config.schema import RunConfig
from fedpriv.errors import UserError

_KEPT = ("mode", "seed", "task", "data", "model", "evaluation", "privacy")
_KEPT_FOR_SUMS = ("federation", "secure")
"""Client-level epsilon depends on who adds noise to a sum, how often, and in which steps."""
_OPEN = ("data", "task")
_LARGEST_SIDE = 1024  # of an image that a file may make a loader allocate


def restored(
    source: str,
    saved: Mapping[str, Any],
    overrides: Sequence[str] = (),
    in_shape: tuple[int, ...] = (),
) -> RunConfig:
    """Return what of a run's configuration decides data, model, test and privacy, changed by ``overrides``.

    Where it was tracked, how it was trained, encrypted and shared out is left at the defaults, but for
    client-level privacy, which rests on it.
    Nothing is left to interpolate.

    Args:
        source: where ``saved`` comes from, for messages.
        saved: nested plain values, as logged.
        overrides: ``data=NAME``, ``data.KEY=VALUE``, ``evaluation.KEY=VALUE`` or ``task.KEY=VALUE``.
        in_shape: (C, H, W) of the images that ``data=NAME`` is asked for, where its loader has ``height``,
            ``width``, ``size`` (of a square) or ``colour`` and no override gives them; () asks for none.

    Raises:
        UserError: when ``saved`` does not obey the schema, or an override does not parse, does not
            fit, or bears on nothing that an evaluation does.
    """
    schema = OmegaConf.structured(RunConfig)
    try:
        kept = {k: saved[k] for k in _kept(saved) if k in saved}
        config = cast(DictConfig, OmegaConf.merge(schema, kept))
        for group in _OPEN:
            if not isinstance(config[group], DictConfig):
                raise UserError(f"{source}: {group} is no group of settings; choose a run of this fedpriv")
        config = cast(DictConfig, typed(config))
    except OmegaConfBaseException as error:
        raise UserError(f"{source}: {explain(error)}; evaluate it with the fedpriv that made it") from error
    except RecursionError:
        raise UserError(
            f"{source}: its settings are nested too deeply; choose a run of this fedpriv"
        ) from None
    try:
        parsed = OverridesParser.create().parse_overrides(list(overrides))
        # groups first, as Hydra does, so that the order on the command line does not matter
        for override in sorted(parsed, key=lambda override: "." in override.key_or_group):
            _apply(config, override, in_shape)
        return typed(config)
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(explain(error)) from error


def _kept(saved: Mapping[str, Any]) -> tuple[str, ...]:
    privacy = saved.get("privacy")
    of_sums = isinstance(privacy, Mapping) and privacy.get("unit") == "client"
    return (*_KEPT, *_KEPT_FOR_SUMS) if of_sums else _KEPT


def _apply(config: DictConfig, override: Override, in_shape: tuple[int, ...]) -> None:
    key, text = str(override.key_or_group), str(override.input_line)
    if override.is_sweep_override() or override.is_delete():
        raise UserError(f"{text}: one value is needed here; write {key}=VALUE")
    value: Any = override.value()
    group, _, name = key.partition(".")
    if key == "data":
        if not isinstance(value, str) or not re.fullmatch(r"\w+", value):
            raise UserError(f"{text}: name one data set, e.g. data=lfw; `fedpriv-data list` prints all")
        config.data = _fitted(compose_given([f"data={value}"]).data, in_shape)
    elif group in (*_OPEN, "evaluation") and name and name != "_target_":
        OmegaConf.update(config, key, value, force_add=group in _OPEN)
    else:
        raise UserError(
            f"{text}: bears on no evaluation; give data=NAME, data.KEY=..., evaluation.KEY=... or "
            "task.KEY=..."
        )


def _fitted(data: DictConfig, in_shape: tuple[int, ...]) -> DictConfig:
    """Return a data set's settings, its images asked for as ``in_shape`` says where its loader can."""
    if len(in_shape) != 3 or not all(0 < side <= _LARGEST_SIDE for side in in_shape):
        return data
    channels, height, width = in_shape
    wanted: dict[str, int | bool] = {"height": height, "width": width}
    if height == width:
        wanted["size"] = height
    if channels in (1, 3):
        wanted["colour"] = channels == 3
    module, _, name = str(data["_target_"]).rpartition(".")  # ours: it is composed from configs/data
    known = signature(getattr(import_module(module), name)).parameters
    asked = {key: value for key, value in wanted.items() if key in known}
    return cast(DictConfig, OmegaConf.merge(data, asked))
