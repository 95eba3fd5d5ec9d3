"""Which examples a mechanism was run on: the identity of data, whatever it is called."""

import base64
import binascii
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

MOST_EXAMPLES = 1 << 24
"""Examples of one share; their digests must fit into one line of a journal."""

_EXAMPLE = b"fedpriv example 1\0"
_SHARE = b"fedpriv share 1\0"
_CHUNK_BYTES = 1 << 24


class _Images(Protocol):
    """An array of images, or what reads rows of one."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> np.dtype[np.uint8]: ...
    def __getitem__(self, key: slice) -> NDArray[np.uint8]: ...


@dataclass(frozen=True, eq=False)
class ExampleSet:
    """The examples of one share, each as the first 8 bytes of a SHA-256.

    Guarantee:
        - Two shares of the same examples have the same identity, in any order and on any machine;
          names, labels and people do not enter.
        - An example that stands in two shares has the same digest in both: overlap is never missed.

    Edge cases:
        - Two examples of one digest (2^-64 a pair) are taken for one: that counts too much, not too little.
        - An example that stands in a share several times is kept several times: more copies, another
          identity.
        - Pixels are what :func:`of_images` digests: the same photograph at another size, crop or
          compression is another example. A loader that knows better gives digests of the source files
          to :func:`of_digests`.
        - A digest tells who has the image that it is in the share: keep the set where the images are.

    Attributes:
        digests: (N,) uint64, sorted.

    Raises:
        ValueError: when the digests are not sorted, not uint64, or more than :data:`MOST_EXAMPLES`.
    """

    digests: NDArray[np.uint64]

    def __post_init__(self) -> None:
        """Check order and number, and protect the array."""
        if self.digests.ndim != 1 or self.digests.dtype != np.uint64:
            raise ValueError(f"digests: need uint64 (N,), got {self.digests.dtype} {self.digests.shape}")
        if len(self.digests) > MOST_EXAMPLES:
            raise ValueError(f"digests: {len(self.digests)} examples, at most {MOST_EXAMPLES}")
        if np.any(self.digests[1:] < self.digests[:-1]):
            raise ValueError("digests: not sorted")
        self.digests.flags.writeable = False

    def __len__(self) -> int:
        """Return the number of examples, copies included."""
        return len(self.digests)

    @cached_property
    def identity(self) -> str:
        """SHA-256 of all digests in ascending order, 64 hexadecimal digits."""
        return hashlib.sha256(_SHARE + self.digests.astype("<u8").tobytes()).hexdigest()

    @cached_property
    def distinct(self) -> NDArray[np.uint64]:
        """Each digest once, sorted."""
        return np.unique(self.digests)

    @cached_property
    def repeated(self) -> int:
        """Number of examples, each counted once, that stand here several times."""
        return int(np.count_nonzero(np.unique(self.digests, return_counts=True)[1] > 1))

    def to_text(self) -> str:
        """Return the digests as base64 of 8 little-endian bytes each."""
        return base64.b64encode(self.digests.astype("<u8").tobytes()).decode()


def from_text(text: str) -> ExampleSet:
    """Read what :meth:`ExampleSet.to_text` wrote.

    Guarantee:
        - What it returns has the identity of what was written.

    Raises:
        ValueError: when it is no base64, no whole number of digests, or they are not sorted.
    """
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError("digests: no base64") from error
    if len(data) % 8:
        raise ValueError(f"digests: {len(data)} bytes are no whole number of them")
    return ExampleSet(np.frombuffer(data, "<u8").astype(np.uint64))


def said_of_copies(shares: Iterable[ExampleSet]) -> str | None:
    """Return one line on the examples that stand several times in the share of a client; None if none do."""
    repeated = [share.repeated for share in shares if share.repeated]
    if not repeated:
        return None
    images = f"{sum(repeated)} image{'s' if sum(repeated) > 1 else ''}"
    clients = f"{len(repeated)} client{'s' if len(repeated) > 1 else ''}"
    return (
        f"{images} of {clients} stand{'' if sum(repeated) > 1 else 's'} more than once in a share: epsilon "
        "protects each copy by itself, all copies of an image together less; keep one of each"
    )


def of_digests(digests: NDArray[np.uint64]) -> ExampleSet:
    """Return the set of examples with these digests, (N,) uint64 in any order."""
    return ExampleSet(np.sort(digests))


def of_images(images: _Images) -> ExampleSet:
    """Return the set of these images: SHA-256 of channels, height, width and pixels of each.

    Edge cases:
        - no images give an empty set, which nothing can be charged to.

    One pass over all pixels, 16 MB at a time: images in a memory map are not held in memory.

    Args:
        images: (N, C, H, W) uint8.

    Raises:
        ValueError: for another shape or dtype.
    """
    if len(images.shape) != 4 or images.dtype != np.uint8:
        raise ValueError(f"images: need uint8 (N, C, H, W), got {images.dtype} {images.shape}")
    head = hashlib.sha256(_EXAMPLE + np.array(images.shape[1:], "<u4").tobytes())
    return of_digests(np.fromiter(_each(images, head), np.uint64, images.shape[0]))


def _each(images: _Images, head: "hashlib._Hash") -> Iterator[int]:
    rows = max(1, _CHUNK_BYTES // max(1, int(np.prod(images.shape[1:]))))
    for start in range(0, images.shape[0], rows):
        for image in np.ascontiguousarray(images[start : start + rows]):
            digest = head.copy()
            digest.update(image.data)
            yield int.from_bytes(digest.digest()[:8], "little")
