"""Some rows of a large array of images, read only when asked for."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedpriv.types import ByteImages


class ImageRows:
    """Rows of an array that stays where it is, usually in a memory map.

    Behaves like the array ``base[rows]`` of shape (N, C, H, W) for what is read of images: ``len``,
    ``shape``, ``dtype``, ``ndim``, indexing along the first axis (and further axes after it) and
    ``numpy.asarray``. Only the rows that are indexed are copied.
    """

    def __init__(self, base: ByteImages, rows: NDArray[np.int64]) -> None:
        """View ``rows`` of ``base``."""
        self._base, self._rows = base, rows

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the whole, (N, C, H, W)."""
        return (len(self._rows), *self._base.shape[1:])

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return self._base.ndim

    @property
    def dtype(self) -> np.dtype[np.uint8]:
        """The base's dtype."""
        return self._base.dtype

    @property
    def nbytes(self) -> int:
        """Bytes that a copy of all rows would take."""
        return int(np.prod(self.shape)) * self.dtype.itemsize

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self._rows)

    def __getitem__(self, key: Any) -> Any:
        """Copy the rows ``key`` (an index, slice, index array or mask; or a tuple that starts so)."""
        first, rest = (key[0], key[1:]) if isinstance(key, tuple) else (key, ())
        picked = self._base[self._rows[first]]
        if not rest:
            return picked
        return picked[rest] if isinstance(first, int | np.integer) else picked[(slice(None), *rest)]

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        """Copy image after image."""
        return (self._base[row] for row in self._rows)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Copy all rows."""
        if copy is False:
            raise ValueError("the rows of a large array cannot be had without a copy")
        return np.asarray(self._base[self._rows], dtype=dtype)

    def rows(self, indices: NDArray[np.int64]) -> "ImageRows":
        """View some of these rows, without a copy."""
        return ImageRows(self._base, self._rows[indices])
