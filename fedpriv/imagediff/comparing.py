"""Files in, numbers and pictures out: what ``fedpriv imagediff run`` does for each pair."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedpriv.errors import UserError
from fedpriv.formats.identity_folder import SUFFIXES
from fedpriv.he.pictures.changes import find_changes
from fedpriv.he.pictures.reading import Picture, read_picture, require_alike
from fedpriv.imagediff.client import DifferenceClient
from fedpriv.imagediff.report import as_json, write_pictures

_MOST_TOGETHER = 1 << 20
"""Values of pictures that are sent together: about what one request holds."""


@dataclass(frozen=True)
class Look:
    """How differences are looked at.

    Attributes:
        threshold: see :class:`~fedpriv.he.pictures.changes.Changes`.
        least_pixels: of a region.
        folder: where pictures go.
        array: whether the exact numbers are written, too.
    """

    threshold: int
    least_pixels: int
    folder: Path
    array: bool = False


@dataclass(frozen=True)
class _Loaded:
    names: tuple[Path, Path]
    first: Picture
    second: Picture


def paired(given: Sequence[Path], reference: bool) -> list[tuple[Path | None, Path]]:
    """Return the files to compare: pairs in a row, or those of one name in two folders.

    Args:
        given: files, or two folders.
        reference: every file is compared with a reference; the first of each pair is then None.

    Raises:
        UserError: when they do not pair up.
    """
    if reference:
        return [(None, path) for path in given]
    if len(given) == 2 and all(path.is_dir() for path in given):
        return [(given[0] / name, given[1] / name) for name in _common(*given)]
    if len(given) % 2:
        raise UserError(f"{given[-1]}: has no counterpart; give pairs A B, or --reference NAME")
    return list(zip(given[::2], given[1::2], strict=True))


def compared(
    client: Callable[[], DifferenceClient],
    pairs: Sequence[tuple[Path | None, Path]],
    reference: str | None,
    look: Look,
) -> Iterator[dict[str, Any]]:
    """Yield the numbers of each pair once its pictures are written; small pairs are sent together.

    Args:
        client: gives the one to ask, first called when pictures have been read.
        pairs: of :func:`paired`.
        reference: what each is compared with whose first is None.
        look: what to look for.

    Raises:
        UserError: a file cannot be used, two do not fit each other, or the server does not answer.
    """
    names: set[str] = set()
    waiting: list[_Loaded] = []
    for first, second in pairs:
        try:
            after = read_picture(second)
            before = None if first is None else read_picture(first)
            if first is not None and before is not None:
                require_alike(before, after, (first, second))
        except UserError:
            if waiting:  # those before it are no worse for it
                yield from _flushed(client(), waiting, look, names)
            raise
        if first is None or before is None:
            difference = client().difference_from(str(reference), after)
            yield _shown({"reference": str(reference), "second": str(second)}, after, difference, look, names)
            continue
        if waiting and after.size + sum(each.second.size for each in waiting) > _MOST_TOGETHER:
            yield from _flushed(client(), waiting, look, names)
            waiting = []
        waiting.append(_Loaded((first, second), before, after))
    yield from _flushed(client(), waiting, look, names)


def _flushed(
    client: DifferenceClient, waiting: list[_Loaded], look: Look, names: set[str]
) -> Iterator[dict[str, Any]]:
    differences = client.differences([(each.first, each.second) for each in waiting])
    for each, difference in zip(waiting, differences, strict=True):
        first, second = map(str, each.names)
        yield _shown({"first": first, "second": second}, each.second, difference, look, names)


def _shown(
    said: dict[str, str], second: Picture, difference: NDArray[np.int16], look: Look, names: set[str]
) -> dict[str, Any]:
    changes = find_changes(difference, look.threshold, look.least_pixels)
    name = Path(said["second"]).stem
    file = next(each for each in chain([name], (f"{name}-{n}" for n in count(2))) if each not in names)
    names.add(file)
    files = write_pictures(look.folder, file, second, difference, changes, look.array)
    return as_json(said, difference, changes, files)


def _common(first: Path, second: Path) -> list[str]:
    inside = [
        {path.name for path in folder.iterdir() if path.suffix.lower() in SUFFIXES}
        for folder in (first, second)
    ]
    if alone := sorted(inside[0] ^ inside[1]):
        side = first if alone[0] in inside[0] else second
        raise UserError(f"{side / alone[0]}: has no counterpart of that name; take it out of the folder")
    if not inside[0]:
        raise UserError(f"{first}: holds no pictures; name files or another folder")
    return sorted(inside[0])
