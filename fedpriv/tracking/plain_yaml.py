"""Writes plain values as YAML, and reads YAML that nobody vouches for."""

from pathlib import Path
from typing import Any

import yaml

from fedpriv.errors import UserError

_MOST_DIGITS = 20
_TOO_LARGE = 10**_MOST_DIGITS
_LONGEST_NUMBER = 100
"""Signs of a whole number as it is written: of one with 20 digits also in base 2."""


class _Plain(yaml.SafeLoader):
    """Refuses aliases, by which a file of a kilobyte stands for gigabytes or for itself, and long numbers."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("has an alias")
        return super().compose_node(parent, index)

    def number(self, node: yaml.ScalarNode) -> int:
        """Return a whole number of at most 20 digits: longer ones and those of base 60 take long to read."""
        if ":" in node.value or len(node.value) > _LONGEST_NUMBER:
            raise yaml.YAMLError("has a number of base 60, or a long one")
        found = int(self.construct_yaml_int(node))
        if abs(found) >= _TOO_LARGE:
            raise yaml.YAMLError(f"has a number of more than {_MOST_DIGITS} digits")
        return found

    def fraction(self, node: yaml.ScalarNode) -> float:
        """Return a number that is not whole; not of base 60."""
        if ":" in node.value:
            raise yaml.YAMLError("has a number of base 60")
        return float(self.construct_yaml_float(node))


_Plain.add_constructor("tag:yaml.org,2002:int", _Plain.number)
_Plain.add_constructor("tag:yaml.org,2002:float", _Plain.fraction)


class _WithoutAnchors(yaml.SafeDumper):
    """Writes what is there twice twice: :func:`read_plain` refuses aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def number(self, data: int) -> yaml.Node:
        """Write a whole number that :class:`_Plain` reads back."""
        if abs(data) >= _TOO_LARGE:
            raise UserError(
                f"{str(data)[:30]}...: has more than {_MOST_DIGITS} digits; choose a smaller number"
            )
        return self.represent_int(data)


_WithoutAnchors.add_representer(int, _WithoutAnchors.number)


def plain_text(value: Any) -> str:
    """Return plain values, lists and mappings as YAML that :func:`read_plain` reads back as they are.

    What is not ASCII is escaped: of the line breaks that Unicode has, readers would make spaces.

    Raises:
        UserError: for a whole number of more than 20 digits.
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
        ValueError: when it is larger, no YAML, has an alias, a number of base 60 (``1:30``, of YAML 1.1) or a
            whole one of more than 20 digits, or is nested too deeply.
        OSError: when it cannot be read.
    """
    with path.open("rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise ValueError(f"is larger than {limit} bytes")
    try:
        return yaml.load(data, _Plain)  # noqa: S506 - a safe loader
    except (yaml.YAMLError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise ValueError("is no plain YAML") from error
