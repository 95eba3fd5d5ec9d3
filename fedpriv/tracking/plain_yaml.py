"""Writes plain values as YAML, and reads YAML that nobody vouches for."""

from pathlib import Path
from typing import Any

import yaml


class _WithoutAliases(yaml.SafeLoader):
    """Refuses aliases, by which a file of a kilobyte stands for gigabytes, or for itself."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("has an alias")
        return super().compose_node(parent, index)


class _WithoutAnchors(yaml.SafeDumper):
    """Writes what is there twice twice: :func:`read_plain` refuses aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def plain_text(value: Any) -> str:
    """Return plain values, lists and mappings as YAML that :func:`read_plain` reads back as they are.

    What is not ASCII is escaped: of the line breaks that Unicode has, readers would make spaces.
    """
    return str(yaml.dump(value, Dumper=_WithoutAnchors, sort_keys=False))


def read_plain(path: Path, limit: int) -> Any:
    """Return what a file of YAML holds: plain values, lists and mappings.

    Guarantee:
        No tag makes an object, and no value is larger than its text.

    Args:
        path: the file.
        limit: the most bytes that it may have.

    Raises:
        ValueError: when it is larger, no YAML, has an alias or is nested too deeply.
        OSError: when it cannot be read.
    """
    with path.open("rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise ValueError(f"is larger than {limit} bytes")
    try:
        return yaml.load(data, _WithoutAliases)  # noqa: S506 - a safe loader
    except (yaml.YAMLError, TypeError, RecursionError) as error:
        raise ValueError("is no plain YAML") from error
