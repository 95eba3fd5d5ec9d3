"""Keeps secrets of a configuration out of everything that is logged."""

import re
from collections.abc import Iterable, Mapping
from pathlib import PurePath
from typing import Any

import numpy as np

HIDDEN = "<hidden>"
"""What stands in the place of a hidden value."""

SECRET_WORDS = ("key", "secret", "token", "password")
"""A configuration name that contains one of these (any case) is taken for a secret."""

HARMLESS_NAMES = frozenset(
    {
        "key_bits",
        "key_holder",
        "key_holders",
        "key_threshold",
        "keyholder",
        "keyholders",
        "needs_keyholder",
        "secret_shares",
        "secret_sharing",
    }
)
"""Names that contain a secret word but hold a setting worth comparing runs by."""

HARMLESS_CHOICES = {"keys": frozenset({"authority", "committee"})}
"""Names that contain a secret word, with the values that are choices and no secrets."""

SHORTEST_SECRET = 4
"""Hidden values of fewer characters are not searched for in free text: they would match by chance."""

_USER_INFO = re.compile(
    r"(?<=://)(?:"
    r"(?<!(?<![\w+.-])http://)(?<!(?<![\w+.-])https://)[^:/\s]*:\S*"
    r"|[^/?#\s@:]*:(?!\d+(?:[/?#,'\"}\]\s]|$))\S*"
    r"|[^/\s]+"
    r")@",
    re.IGNORECASE,
)
"""User and password, which may hold any sign. A colon before a port begins none with ``http`` and ``https``;
to SQLAlchemy, which reads the others, any colon does where a sign ``@`` follows."""
_QUERY_SECRET = re.compile(
    r"(?P<name>[?&;]\w*(?:pass|pwd|token|secret)\w*=)[^&\s]+|(?P<whole>[?&;]odbc_connect=)\S+", re.IGNORECASE
)
"""What ``fedpriv.config.tracking_address`` refuses in a query; the two packages do not import each other."""
_INNER_NAME = re.compile(r"([\w.]+)['\"]?\s*[:=]")


def is_secret_name(name: str) -> bool:
    """Tell whether the last dotted part of ``name`` looks like the name of a secret."""
    last = name.lower().rsplit(".", 1)[-1]
    return last not in HARMLESS_NAMES and any(word in last for word in SECRET_WORDS)


def hide_secrets(config: Mapping[str, Any]) -> tuple[dict[str, Any], frozenset[str]]:
    """Copy a nested configuration into plain types with every secret replaced.

    Guarantee:
        A value, group or list below a name for which :func:`is_secret_name` holds comes back as
        :data:`HIDDEN`; credentials inside URLs (``scheme://user:password@host``, ``?password=...``) likewise.
        The result holds only dict, list, str, int, float, bool and None.

    Edge cases:
        A name in :data:`HARMLESS_NAMES` keeps its value; what lies below it is still searched.
        So does one in :data:`HARMLESS_CHOICES` when its value is one of those there.
        Paths become their text; numpy scalars become numbers; anything else becomes ``str(value)``.

    Args:
        config: nested mappings and sequences, interpolations already resolved.

    Returns:
        (the copy, the texts that were hidden: what :func:`hide_in_text` searches for).
    """
    hidden: set[str] = set()
    plain = _copy(config, hidden)
    return plain, frozenset(text for text in hidden if len(text) >= SHORTEST_SECRET)


def hide_in_text(text: str, secrets: Iterable[str]) -> str:
    """Replace every known secret and every URL credential in free text, e.g. an error message.

    A field of a URL's query whose name says so (``?password=...``, ``&sslpassword=...``) is a credential.

    Edge cases:
        Longer secrets are replaced first, so that one that contains another leaves no remainder.
    """
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return _without_credentials(text)


def hide_in_override(override: str, secrets: Iterable[str] = ()) -> str:
    """Hide the value of a command-line override ``a.b=value`` that names a secret.

    Edge cases:
        Any secret-like part of the dotted name counts (``auth.token.value=x``), and a value that
        itself names a secret (``auth={token: x}``) is hidden whole.
    """
    name, equals, value = override.partition("=")
    parts = re.split(r"[./@]", name.lstrip("+~"))
    inner = (match.group(1) for match in _INNER_NAME.finditer(value))
    secret = any(map(is_secret_name, parts)) or any(map(is_secret_name, inner))
    if equals and secret and not _is_choice(parts[-1], value):
        return f"{name}={HIDDEN}"
    return hide_in_text(override, secrets)


def _is_choice(name: str, value: Any) -> bool:
    return isinstance(value, str) and value in HARMLESS_CHOICES.get(name, ())


def _copy(value: Any, hidden: set[str]) -> Any:
    if isinstance(value, Mapping):
        copied: dict[str, Any] = {}
        for key, inner in value.items():
            if is_secret_name(str(key)) and not _is_choice(str(key), inner):
                _collect(inner, hidden)
                copied[str(key)] = HIDDEN
            else:
                copied[str(key)] = _copy(inner, hidden)
        return copied
    if isinstance(value, (list, tuple)):
        return [_copy(inner, hidden) for inner in value]
    if isinstance(value, np.generic):
        return _copy(value.item(), hidden)
    if value is None or isinstance(value, (bool, int, float)):
        return value
    text = value if isinstance(value, str) else str(value)
    return _collect_credentials(text, hidden)


def _collect_credentials(text: str, hidden: set[str]) -> str:
    hidden.update(found.group()[:-1] for found in _USER_INFO.finditer(text))
    hidden.update(found.group().partition("=")[2] for found in _QUERY_SECRET.finditer(text))
    return _without_credentials(text)


def _without_credentials(text: str) -> str:
    text = _USER_INFO.sub(f"{HIDDEN}@", text)
    return _QUERY_SECRET.sub(lambda found: f"{found['name'] or found['whole']}{HIDDEN}", text)


def _collect(value: Any, hidden: set[str]) -> None:
    if isinstance(value, Mapping):
        for inner in value.values():
            _collect(inner, hidden)
    elif isinstance(value, (list, tuple, set, frozenset)):
        for inner in value:
            _collect(inner, hidden)
    elif isinstance(value, (str, int, float, PurePath)) and not isinstance(value, bool):
        hidden.add(str(value))
