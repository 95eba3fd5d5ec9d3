"""What every reader of a downloaded folder asks of a file before it opens it."""

import json
import stat
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedpriv.errors import FormatError


def check_file(path: Path, root: Path, limit: int) -> None:
    """Refuse what is no regular file, is larger than ``limit`` bytes, or lies outside ``root`` by a link.

    Raises:
        FormatError: naming ``path``.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise FormatError(path, None, f"cannot be read ({error.strerror}); check the file") from error
    if not stat.S_ISREG(status.st_mode):
        raise FormatError(path, None, "is no regular file")
    if status.st_size > limit:
        raise FormatError(path, None, f"{status.st_size} bytes, the limit is {limit}")
    if not path.resolve().is_relative_to(root.resolve()):
        raise FormatError(path, None, f"a symbolic link that leaves {root}; copy the file into the folder")


def read_json(path: Path, root: Path, limit: int, kind: type[dict[str, Any]] | type[list[Any]] = dict) -> Any:
    """Return the JSON object (or array, ``kind=list``) in ``path``.

    Raises:
        FormatError: as :func:`check_file`, or it is no JSON, or not of that kind.
    """
    check_file(path, root, limit)
    try:
        value = json.loads(path.read_bytes())
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
