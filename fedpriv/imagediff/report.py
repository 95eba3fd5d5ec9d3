"""What a comparison shows: pictures as files, numbers as text or JSON."""

import contextlib
import secrets
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fedpriv.errors import UserError
from fedpriv.he.pictures.changes import MOST_REGIONS, Changes
from fedpriv.he.pictures.drawing import absolute_picture, as_images, overlay, signed_picture
from fedpriv.he.pictures.reading import Picture, described

_LISTED = 5


def write_pictures(
    folder: Path, name: str, second: Picture, difference: NDArray[np.int16], changes: Changes, array: bool
) -> dict[str, str]:
    """Write ``NAME.difference.png``, ``NAME.absolute.png`` and ``NAME.changes.png``.

    Args:
        folder: made where there is none.
        name: of the files.
        second: the picture to mark changes on.
        difference: (rows, columns, channels) int16.
        changes: of it.
        array: whether to write ``NAME.difference.npy``, the exact numbers, as well.

    Returns:
        The files by what they show.

    Raises:
        UserError: when one cannot be written.
    """
    drawn = {
        "difference": signed_picture(difference),
        "absolute": absolute_picture(difference),
        "changes": overlay(second, changes),
    }
    found: dict[str, str] = {}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for kind, picture in drawn.items():
            for end, image in as_images(picture).items():
                found[kind + end] = str(_saved(folder / f"{name}.{kind}{end}.png", image))
        if array:
            found["array"] = str(_saved(folder / f"{name}.difference.npy", difference))
    except OSError as error:
        raise UserError(
            f"{error.filename or folder}: cannot be written ({error.strerror or error}); "
            "name another folder with --out"
        ) from error
    return found


def as_json(
    names: Mapping[str, str], difference: NDArray[np.int16], changes: Changes, files: Mapping[str, str]
) -> dict[str, Any]:
    """Return the numbers of one comparison."""
    rows, columns, channels = difference.shape
    return {
        **names,
        "rows": rows,
        "columns": columns,
        "channels": channels,
        "threshold": changes.threshold,
        "changed_share": changes.changed_share,
        "differing_share": changes.differing_share,
        "max_abs": changes.max_abs,
        "mean_abs": changes.mean_abs,
        "mean": changes.mean,
        "regions_found": changes.regions_found,
        "regions": [asdict(region) for region in changes.regions],
        "files": dict(files),
    }


def as_text(found: Mapping[str, Any]) -> str:
    """Return what :func:`as_json` returns, as lines for people."""
    shape = (found["rows"], found["columns"], found["channels"])
    first = found.get("first") or f"reference {found.get('reference')}"
    lines = [
        f"{first} -> {found['second']}: {described(shape)}",
        f"  changed    {100 * found['changed_share']:.3f} % of pixels by more than {found['threshold']}; "
        f"{100 * found['differing_share']:.3f} % at all",
        f"  difference largest {found['max_abs']}, mean absolute {found['mean_abs']:.4f}, "
        f"mean {found['mean']:+.4f}",
        f"  regions    {found['regions_found']}" + (":" if found["regions"] else ""),
    ]
    for region in found["regions"][:_LISTED]:
        lines.append(
            f"             {region['width']} x {region['height']} at ({region['x']}, {region['y']}), "
            f"{region['pixels']} pixels, up to {region['largest']}"
        )
    more = found["regions_found"] - _LISTED
    if more > 0:
        lines.append(f"             and {more} more; --json lists the {MOST_REGIONS} largest")
    lines += [f"  {kind:10} {path}" for kind, path in found["files"].items()]
    return "\n".join(lines)


def _saved(path: Path, content: Image.Image | NDArray[np.int16]) -> Path:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with temporary.open("xb") as file:
            if isinstance(content, Image.Image):
                content.save(file, "PNG")
            else:
                np.save(file, content)
        temporary.replace(path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
    return path
