"""JSON files of a downloaded folder: their kind and the numbers in their fields, checked."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedpriv.errors import FormatError
from fedpriv.formats.files import read_input


def read_json(path: Path, root: Path, limit: int, kind: type[dict[str, Any]] | type[list[Any]] = dict) -> Any:
    """Return the JSON object (or array, ``kind=list``) in ``path``.

    Raises:
        FormatError: as :func:`fedpriv.formats.files.open_input`, or it is no JSON, or not of that kind.
    """
    data = read_input(path, limit, root)
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise FormatError(path, None, f"is no JSON ({error})") from error
    if not isinstance(value, kind):
        raise FormatError(path, None, f"holds a {type(value).__name__}, need a {kind.__name__}")
    return value


def numbers(path: Path, field: str, value: Any, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return JSON numbers as an array of ``shape``.

    Raises:
        FormatError: naming file and field, when they are anything but finite numbers of that shape.
    """
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise FormatError(path, None, f"{field}: is ragged, need numbers of shape {shape}") from error
    if array.shape != shape or (array.dtype.kind not in "biuf" and array.size):
        raise FormatError(path, None, f"{field}: {array.dtype} {array.shape}, need numbers of shape {shape}")
    result = array.astype(np.float64)
    if not np.isfinite(result).all():
        raise FormatError(path, None, f"{field}: holds a value that is not finite")
    return result
