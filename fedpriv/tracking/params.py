"""A nested configuration as MLflow parameters: flat, within the limits, and hashed."""

import hashlib
import json
import math
import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

NAME_LENGTH = 250
"""Longest name of a parameter, tag or metric (MLflow, ``MAX_ENTITY_KEY_LENGTH``)."""
VALUE_LENGTH = 6000
"""Longest parameter value in characters (MLflow, ``MAX_PARAM_VAL_LENGTH``)."""
TAG_LENGTH = 5000
"""Longest tag value in characters that MLflow servers from 2.0 on accept."""
BATCH_LENGTH = 100
"""Most parameters in one call (MLflow, ``MAX_PARAMS_TAGS_PER_BATCH``)."""
NOT_HASHED = frozenset({"hydra", "paths", "tracking"})
"""Top-level groups that say where results go, not what is computed."""

_CUT = " ... [cut]"
_Item = TypeVar("_Item")


def clean_name(name: str) -> str:
    """Map any text to a name that MLflow accepts, at most :data:`NAME_LENGTH` characters.

    Characters outside ``[A-Za-z0-9_.-/ ]`` become ``_``; a name that is too long keeps its head
    and ends in 8 hexadecimal digits of its SHA-256, so that two long names stay apart.

    Edge cases:
        Names that read as an unnormalised path (``/a``, ``a//b``, ``..``) lose their slashes.
        The empty name becomes ``_``.
    """
    cleaned = re.sub(r"[^A-Za-z0-9_.\-/ ]", "_", name)
    if posixpath.normpath(cleaned) != cleaned or cleaned.startswith(("/", "..")):
        cleaned = cleaned.replace("/", "_")
    if not cleaned.strip("."):
        cleaned = "_" * max(len(cleaned), 1)
    if len(cleaned) > NAME_LENGTH:
        tail = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:8]
        cleaned = f"{cleaned[: NAME_LENGTH - 9]}_{tail}"
    return cleaned


def cut(text: str, length: int) -> str:
    """Return ``text``, or its head and a mark when it has more than ``length`` characters."""
    return text if len(text) <= length else text[: length - len(_CUT)] + _CUT


def flatten(config: Mapping[str, Any]) -> dict[str, str]:
    """Flatten nested groups to ``{"group.name": text}`` within MLflow's limits.

    A list of plain values is one entry in JSON; a list that holds groups is numbered
    (``steps.0.name``).

    Edge cases:
        Two names that clean to the same one get ``_2``, ``_3``, ... in their order.
        An empty group is kept as ``{}``.

    Args:
        config: plain types only, secrets already hidden.

    Returns:
        Names of at most :data:`NAME_LENGTH` and values of at most :data:`VALUE_LENGTH` characters.
    """
    params: dict[str, str] = {}
    for name, value in _leaves(config, ""):
        cleaned = wanted = clean_name(name)
        count = 1
        while cleaned in params:
            count += 1
            suffix = f"_{count}"
            cleaned = wanted[: NAME_LENGTH - len(suffix)] + suffix
        params[cleaned] = cut(value, VALUE_LENGTH)
    return params


def config_hash(config: Mapping[str, Any]) -> str:
    """Hash what a configuration computes: the first 16 hexadecimal digits of a SHA-256.

    Computed over JSON with sorted keys, without the groups :data:`NOT_HASHED`: two runs share a
    hash if they differ only in where they write.

    Args:
        config: plain types only, secrets already hidden (a hash of a short secret gives it away).
    """
    kept = {key: value for key, value in config.items() if key not in NOT_HASHED}
    text = json.dumps(kept, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:16]


def batches(items: Iterable[_Item], length: int = BATCH_LENGTH) -> Iterator[list[_Item]]:
    """Yield the items in lists of at most ``length``."""
    batch: list[_Item] = []
    for item in items:
        batch.append(item)
        if len(batch) == length:
            yield batch
            batch = []
    if batch:
        yield batch


def _leaves(value: Any, prefix: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _leaves(inner, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(value, list) and any(isinstance(inner, (Mapping, list)) for inner in value):
        for index, inner in enumerate(value):
            yield from _leaves(inner, f"{prefix}.{index}")
    elif isinstance(value, str):
        yield prefix, value
    elif isinstance(value, float) and not math.isfinite(value):
        yield prefix, str(value)  # inf, as it is typed; JSON has no word for it
    elif prefix:
        yield prefix, json.dumps(value)
