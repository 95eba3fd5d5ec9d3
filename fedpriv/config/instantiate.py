"""The one way from a configuration to an object: a target whitelist and a typed signature."""

import dataclasses
import functools
import importlib
import inspect
import math
import typing
from collections.abc import Callable, Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from fedpriv.config.explain import closest, needs
from fedpriv.errors import UserError

ALLOWED_PREFIXES = ("fedpriv.tasks.", "fedpriv.data.", "fedpriv.models.", "fedpriv.federated.strategy.")
"""What a configuration may name: ours, and of ours what a configuration is for."""

_PLAIN = (int, float, bool, str)


def instantiate(field: str, spec: Mapping[str, Any], kind: Any = object, **given: Any) -> Any:
    """Call ``spec["_target_"]`` with the rest of ``spec`` and what is ``given``.

    Guarantee:
        - Nothing is called but a public function or class that is *defined* in a module under
          :data:`ALLOWED_PREFIXES`; what such a module imports is out of reach.
        - Nothing is called that does not make a ``kind``.

    Edge cases:
        - a ``_target_`` inside an argument is refused, at any depth.
        - numbers that are not finite are refused.

    Args:
        field: where ``spec`` stands, for messages, e.g. ``model``.
        spec: ``_target_`` and keyword arguments; values only, no nested targets.
        kind: what is made: the class that a target class must be or extend, or what the
            signature of a target function must say that it returns.
        given: further arguments that a configuration must not set.

    Raises:
        UserError: for a target outside :data:`ALLOWED_PREFIXES` or of another kind, an unknown or
            missing argument, a value of another type, or one that the target refuses with
            ``ValueError``.
    """
    target = _locate(field, spec, kind)
    plain = OmegaConf.to_container(spec, resolve=True) if isinstance(spec, DictConfig) else dict(spec)
    arguments = {str(name): value for name, value in typing.cast(dict[str, Any], plain).items()}
    del arguments["_target_"]
    _refuse_values(field, arguments)
    if clash := sorted(arguments.keys() & given.keys()):
        raise UserError(f"{field}.{clash[0]}={arguments[clash[0]]}: is set by the run itself; remove it")
    arguments = _checked(field, target, arguments, set(given))
    try:
        return target(**arguments, **given)
    except ValueError as error:
        raise UserError(f"{field}: {error}") from error


def _locate(field: str, spec: Any, kind: Any) -> Callable[..., Any]:
    name = spec.get("_target_") if isinstance(spec, Mapping | DictConfig) else None
    if not isinstance(name, str):
        raise UserError(f"{field}: names no _target_; choose one of configs/{field}/*.yaml")
    where = f"{field}._target_={name}"
    if not name.startswith(ALLOWED_PREFIXES):
        raise UserError(f"{where}: not allowed; targets start with one of {', '.join(ALLOWED_PREFIXES)}")
    module_name, _, attribute = name.rpartition(".")
    try:
        target = vars(importlib.import_module(module_name))[attribute]
    except (ImportError, KeyError, ValueError) as error:
        raise UserError(f"{where}: no such object; check the spelling") from error
    # walking on to what a module imports would reach anything at all, torch.hub.load for one
    if (
        attribute.startswith("_")
        or getattr(target, "__module__", None) != module_name
        or not callable(target)
    ):
        raise UserError(f"{where}: not allowed; name a public class or function where it is defined")
    if inspect.isabstract(target) or not _makes(target, kind):
        raise UserError(f"{where}: makes no {field}; choose one of configs/{field}/*.yaml")
    return typing.cast(Callable[..., Any], target)


def _makes(target: Any, kind: Any) -> bool:
    if kind is object:
        return True
    if inspect.isclass(target):
        return inspect.isclass(kind) and issubclass(target, kind)
    return bool(typing.get_type_hints(target).get("return") == kind)


def _refuse_values(name: str, value: Any) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"{name}={value}: needs a finite number")
    if isinstance(value, dict):
        if "_target_" in value:
            raise UserError(f"{name}._target_={value['_target_']}: not allowed inside an argument; remove it")
        for key, inner in value.items():
            _refuse_values(f"{name}.{key}", inner)
    if isinstance(value, list):
        for index, inner in enumerate(value):
            _refuse_values(f"{name}[{index}]", inner)


def _checked(
    field: str, target: Callable[..., Any], arguments: dict[str, Any], given: set[str]
) -> dict[str, Any]:
    """Check names, presence and types of ``arguments`` against the signature; convert numbers."""
    parameters = {
        name: parameter
        for name, parameter in inspect.signature(target).parameters.items()
        if name not in given and parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
    }
    for name in arguments:
        if name not in parameters:
            close = closest(name, parameters)
            hint = (
                f"did you mean {field}.{close}?"
                if close
                else f"it takes {', '.join(parameters) or 'nothing'}"
            )
            raise UserError(f"{field}.{name}={arguments[name]}: {field} has no such key; {hint}")
    for name, parameter in parameters.items():
        if parameter.default is parameter.empty and arguments.get(name, "???") == "???":
            raise UserError(f"{field}.{name}: is missing; give it on the command line as {field}.{name}=...")
    try:
        typed = OmegaConf.merge(_schema(target, tuple(arguments)), arguments)
    except OmegaConfBaseException as error:
        name = str(error.full_key or "")
        raise UserError(f"{field}.{name}={arguments.get(name)}: {needs(str(error))}") from error
    checked = typing.cast(dict[str, Any], OmegaConf.to_container(typed))
    _refuse_values(field, checked)  # again: text such as "inf" is a number only now
    return checked


@functools.lru_cache(maxsize=256)
def _schema(target: Callable[..., Any], names: tuple[str, ...]) -> DictConfig:
    """Return what the signature says of some arguments, to merge into; a run makes the same objects often."""
    hints = typing.get_type_hints(target.__init__ if inspect.isclass(target) else target)
    schema = dataclasses.make_dataclass(
        "Arguments", [(name, _supported(hints.get(name, Any))) for name in names]
    )
    return typing.cast(DictConfig, OmegaConf.structured(schema))


def _supported(hint: Any) -> Any:
    """Return the hint if OmegaConf can check it, else Any."""
    parts = typing.get_args(hint)
    simple = hint in _PLAIN or (parts and all(part in (*_PLAIN, type(None)) for part in parts))
    if typing.get_origin(hint) in (list, dict) or (
        simple and len([p for p in parts if p is not type(None)]) <= 1
    ):
        return hint
    return Any
