"""The one way from a configuration to an object: a target whitelist and a typed signature."""

import dataclasses
import inspect
import typing
from collections.abc import Callable, Mapping
from typing import Any

import hydra.utils
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from fedpriv.errors import UserError

ALLOWED_PREFIXES = ("fedpriv.tasks.", "fedpriv.data.", "fedpriv.models.", "fedpriv.federated.strategy.")
"""What a configuration may name: ours, and of ours what a configuration is for."""

_PLAIN = (int, float, bool, str)


def instantiate(field: str, spec: Mapping[str, Any], **given: Any) -> Any:
    """Call ``spec["_target_"]`` with the rest of ``spec`` and what is ``given``.

    Args:
        field: where ``spec`` stands, for messages, e.g. ``model``.
        spec: ``_target_`` and keyword arguments; values only, no nested targets.
        given: further arguments that a configuration must not set.

    Raises:
        UserError: for a target outside :data:`ALLOWED_PREFIXES`, an unknown or missing argument,
            a value of another type, or a value that the target refuses with ``ValueError``.
    """
    target = _locate(field, spec)
    arguments = {name: value for name, value in spec.items() if name != "_target_"}
    if clash := sorted(arguments.keys() & given.keys()):
        raise UserError(f"{field}.{clash[0]}: is set by the run itself; remove it")
    arguments = _checked(field, target, arguments, set(given))
    try:
        return target(**arguments, **given)
    except ValueError as error:
        raise UserError(f"{field}: {error}") from error


def _locate(field: str, spec: Mapping[str, Any]) -> Callable[..., Any]:
    name = spec.get("_target_")
    if not isinstance(name, str):
        raise UserError(f"{field}: names no _target_; choose one of configs/{field}/*.yaml")
    if not name.startswith(ALLOWED_PREFIXES):
        raise UserError(
            f"{field}._target_={name}: not allowed; targets start with one of {', '.join(ALLOWED_PREFIXES)}"
        )
    try:
        return hydra.utils.get_method(name)
    except Exception:
        try:
            return typing.cast(Callable[..., Any], hydra.utils.get_class(name))
        except Exception as error:
            raise UserError(f"{field}._target_={name}: no such object; check the spelling") from error


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
            raise UserError(f"{field}.{name}: unknown; {field} takes {', '.join(parameters) or 'nothing'}")
    for name, parameter in parameters.items():
        if parameter.default is parameter.empty and arguments.get(name, "???") == "???":
            raise UserError(f"{field}.{name}: is missing; give it on the command line as {field}.{name}=...")
    hints = typing.get_type_hints(target.__init__ if inspect.isclass(target) else target)
    schema = dataclasses.make_dataclass(
        "Arguments", [(name, _supported(hints.get(name, Any))) for name in arguments]
    )
    try:
        typed = OmegaConf.merge(OmegaConf.structured(schema), arguments)
    except OmegaConfBaseException as error:
        name = str(error.full_key or "")
        raise UserError(f"{field}.{name}={arguments.get(name)!r}: {str(error).splitlines()[0]}") from error
    return typing.cast(dict[str, Any], OmegaConf.to_container(typed))


def _supported(hint: Any) -> Any:
    """Return the hint if OmegaConf can check it, else Any."""
    parts = typing.get_args(hint)
    simple = hint in _PLAIN or (parts and all(part in (*_PLAIN, type(None)) for part in parts))
    if typing.get_origin(hint) in (list, dict) or (simple and len([p for p in parts if p is not type(None)]) <= 1):
        return hint
    return Any
