"""Which photograph an image was made from: a digest of the file, or record, that it was decoded from.

Two runs on one photograph add up in the privacy ledger, at whatever size, crop and colour it was loaded.
Whoever reads the bytes digests them: nothing is read twice for it.
"""

import hashlib

import numpy as np
from numpy.typing import NDArray

VERSION = 1
"""Of all definitions here. A change makes every photograph another one to every ledger: don't."""

_FILE = b"fedpriv origin 1\0"
_PIXELS = b"fedpriv origin 1 pixels\0"
_RENDERED = b"fedpriv origin 1 rendered\0"
_SECOND = np.uint64(0x9E3779B97F4A7C15)


def of_bytes(content: bytes | memoryview) -> int:
    """Return what identifies an image file: the first 8 bytes, little-endian, of SHA-256.

    The same file under another name, or in a record, has the same origin.

    Args:
        content: all of the file.
    """
    return _head(_FILE, content)


def of_pixels(image: NDArray[np.uint8]) -> int:
    """Return what identifies an image that is published as an array: SHA-256 of its shape and pixels.

    Where it lies, and how it is compressed or written out there, does not matter.

    Args:
        image: uint8 as published: not resized, turned or mirrored.

    Raises:
        ValueError: for another dtype.
    """
    if image.dtype != np.uint8:
        raise ValueError(f"image: need uint8, got {image.dtype}")
    shape = np.array([image.ndim, *image.shape], "<u4").tobytes()
    return _head(_PIXELS + shape, np.ascontiguousarray(image).data)


def of_rendered(name: str, version: int, seed: int, person: int, count: int) -> NDArray[np.uint64]:
    """Return what identifies pictures 0 to ``count - 1`` of a rendered person, (count,) uint64.

    The picture's number counts, not its pixels: at another size it is the same picture, as a photograph
    would be.

    Args:
        name: of the data set.
        version: of its renderer.
        seed: of the data set.
        person: number of the person.
        count: of pictures.
    """
    recipe = f"{name} {version} {seed} {person} ".encode()
    return np.array([_head(_RENDERED, recipe + b"%d" % number) for number in range(count)], np.uint64)


def second(origins: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return the origins of the second images cut out of the same photographs, e.g. of right eyes."""
    return origins ^ _SECOND


def _head(domain: bytes, content: bytes | memoryview) -> int:
    digest = hashlib.sha256(domain)
    digest.update(content)
    return int.from_bytes(digest.digest()[:8], "little")
