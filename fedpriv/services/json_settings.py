"""Dataclasses read from JSON files, strictly."""

import dataclasses
import json
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self
from urllib.parse import urlsplit

from fedpriv.errors import FormatError, UserError

_MOST_BYTES = 1 << 20


@dataclasses.dataclass(frozen=True)
class Between:
    """A number from ``least`` to ``most``."""

    least: float
    most: float

    def fault(self, found: Any) -> str | None:
        """Return what is wrong with a value, if anything."""
        return None if self.least <= found <= self.most else f"give {self.least:g} to {self.most:g}"


@dataclasses.dataclass(frozen=True)
class OneOf:
    """One of a few words."""

    words: tuple[str, ...]

    def fault(self, found: Any) -> str | None:
        """Return what is wrong with a value, if anything."""
        return None if found in self.words else f"give one of {', '.join(self.words)}"


@dataclasses.dataclass(frozen=True)
class HttpUrl:
    """The URL of a service; or, where a value is not given, none."""

    def fault(self, found: Any) -> str | None:
        """Return what is wrong with a value, if anything."""
        try:
            url = urlsplit(found)
            good = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
        except ValueError:  # a port or an address that is none
            good = False
        return None if good or not found else "give a URL, e.g. http://127.0.0.1:8080"


Port = Annotated[int, Between(0, 65535)]
Count = Annotated[int, Between(1, 2**48 - 1)]
Seconds = Annotated[float, Between(0.001, 1e9)]
Level = Annotated[str, OneOf(("debug", "info", "warning", "error"))]
Url = Annotated[str, HttpUrl()]


class Readable:
    """A dataclass that is read from a JSON object; paths in it are relative to the file."""

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a file.

        Guarantee:
            - Every key is a field and every value of its type and in its range; what is missing has its
              default.

        Raises:
            UserError: naming file, field and value.
        """
        try:
            with path.open("rb") as file:
                content = file.read(_MOST_BYTES + 1)
        except OSError as error:
            raise UserError(f"{path}: {error.strerror}; name a file of settings") from error
        if len(content) > _MOST_BYTES:
            raise FormatError(path, None, f"more than {_MOST_BYTES} bytes are no settings")
        try:
            found = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise FormatError(path, None, f"is no JSON: {error}") from error
        settings: Self = _built(cls, found, path, "")
        return settings


def as_json(settings: object) -> str:
    """Return the text of a settings file."""
    return json.dumps(dataclasses.asdict(settings), indent=1, default=str) + "\n"  # type: ignore[call-overload]


def _built(kind: Any, found: Any, path: Path, place: str) -> Any:
    """Return ``found`` as ``kind``, a dataclass or the type of one of its fields."""
    if dataclasses.is_dataclass(kind):
        if not isinstance(found, dict):
            raise FormatError(path, None, f"{place.rstrip('.') or 'settings'}: is no JSON object")
        hints = typing.get_type_hints(kind, include_extras=True)
        if unknown := sorted(set(found) - set(hints)):
            raise FormatError(
                path, None, f"{place}{unknown[0]}: no such setting; known are {', '.join(sorted(hints))}"
            )
        values = {name: _built(hints[name], found[name], path, f"{place}{name}.") for name in found}
        return kind(**values)  # type: ignore[operator]
    name, origin = place.rstrip("."), typing.get_origin(kind)
    if origin is Annotated:
        kind, check = typing.get_args(kind)
        value = _built(kind, found, path, place)
        if (fault := check.fault(value)) is not None:
            raise FormatError(path, None, f"{name}={json.dumps(found)}: {fault}")
        return value
    if origin is types.UnionType:
        if found is None:
            return None
        kind = next(each for each in typing.get_args(kind) if each is not type(None))
        return _built(kind, found, path, place)
    if origin is tuple and isinstance(found, list) and all(isinstance(each, str) for each in found):
        return tuple(found)
    if origin is Mapping and isinstance(found, dict):
        value_kind = typing.get_args(kind)[1]
        return {key: _built(value_kind, each, path, f"{place}{key}.") for key, each in found.items()}
    if kind is Path and isinstance(found, str) and found:
        return path.parent / found
    if kind is float and type(found) in (int, float) and 0 <= found < 1e9:
        return float(found)
    if kind is int and type(found) is int and 0 <= found < 1 << 48:
        return found
    if kind in (bool, str) and type(found) is kind:
        return found
    raise FormatError(path, None, f"{name}={json.dumps(found)}: is no {getattr(kind, '__name__', kind)}")
