"""Images of a data set decoded once, kept in the cache as one array, with what they were made from."""

import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fedpriv.data.cache import cached_images
from fedpriv.progress import track
from fedpriv.types import ByteImages

Example: TypeAlias = tuple[NDArray[np.uint8], int]
"""An image (C, H, W) and its origin, see :mod:`fedpriv.data.origins`."""


def decoded_images(
    name: str,
    version: int,
    parameters: dict[str, Any],
    sources: Iterable[Path],
    shape: tuple[int, int, int, int],
    examples: Callable[[], Iterable[Example]],
) -> tuple[ByteImages, NDArray[np.uint64]]:
    """Return all images of a data set, from the cache if its files have not changed since.

    Args:
        name: of the data set; letters, digits and underscores.
        version: raise it when decoding changes what it makes.
        parameters: what else the pixels depend on (size, colour, choice of images); must be JSON.
        sources: every file that is read; name, size and time of change tell whether it is the same.
        shape: (N, C, H, W) of the result.
        examples: yields N images of shape (C, H, W) and their origins, in order; called only when the
            cache has none.

    Returns:
        (N, C, H, W) uint8 and (N,) uint64 origins, read-only memory maps.

    Raises:
        ValueError: when ``examples`` yields another number of images or another shape.
        UserError: what ``examples`` raises, or when the cache cannot be written.
    """

    def fill(images: ByteImages, origins: NDArray[np.uint64]) -> None:
        count = 0
        for image, origin in track(examples(), f"decode {name}", shape[0]):
            if count == shape[0] or image.shape != shape[1:] or image.dtype != np.uint8:
                raise ValueError(f"{name}: image {count} is {image.dtype} {image.shape}, promised {shape}")
            images[count], origins[count] = image, origin
            count += 1
        if count != shape[0]:
            raise ValueError(f"{name}: {count} images, promised {shape[0]}")

    facts = {"parameters": parameters, "sources": fingerprint(sources)}
    return cached_images(f"data_{name}", version, facts, shape, fill)


def fingerprint(sources: Iterable[Path]) -> str:
    """Return the SHA-256 of path, size and time of change (ns) of every file, in hexadecimal."""
    digest = hashlib.sha256()
    for path in sources:
        status = path.stat()
        digest.update(json.dumps([str(path.resolve()), status.st_size, status.st_mtime_ns]).encode())
    return digest.hexdigest()
