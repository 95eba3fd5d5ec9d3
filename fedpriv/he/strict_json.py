"""JSON from outside, read so that no two readers can understand it in two ways."""

import json
from typing import Any

from fedpriv.errors import UserError


def parse_object(source: object, data: bytes, what: str) -> dict[str, Any]:
    """Return the JSON object that ``data`` is.

    Edge cases:
        - A name that stands twice, at any depth, is refused: other readers take the first or the last.
        - Nesting beyond Python's recursion limit is refused.

    Args:
        source: the file, for messages.
        data: UTF-8; its size is the caller's to bound.
        what: it should be, e.g. ``enrolment``, for messages.

    Raises:
        UserError: on each of these, and when it is no JSON or no object.
    """
    try:
        content = json.loads(data, object_pairs_hook=_distinct)
    except RecursionError:
        raise UserError(f"{source}: nested too deeply; {what}s are flat") from None
    except ValueError as error:
        raise UserError(f"{source}: is no {what} ({error}); ask for it again") from None
    if not isinstance(content, dict):
        raise UserError(f"{source}: is no {what} (it is no JSON object); ask for it again")
    return content


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a name stands twice")
    return made
