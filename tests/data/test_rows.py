"""Rows of a large array behave like the array indexed by them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedpriv.data.rows import ImageRows

BASE = np.random.default_rng(0).integers(0, 256, (7, 2, 3, 4), dtype=np.uint8)


@given(st.lists(st.integers(0, 6), min_size=1, max_size=9), st.data())
def test_indexing_equals_indexing_the_copied_rows(rows, data):
    view, copied = ImageRows(BASE, np.array(rows)), BASE[rows]
    start = data.draw(st.integers(0, len(rows)))
    index = data.draw(st.integers(0, len(rows) - 1))
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows))))
    for key in (slice(start, None), index, -1, mask, np.array([index, 0]), (index, 0), (slice(None), 1, 2)):
        np.testing.assert_array_equal(view[key], copied[key])
    np.testing.assert_array_equal(np.asarray(view), copied)
    np.testing.assert_array_equal(np.array(list(view)), copied)
    np.testing.assert_array_equal(np.asarray(view, dtype=np.float32), copied.astype(np.float32))
    assert (view.shape, view.dtype, view.ndim, len(view), view.nbytes) == (
        copied.shape,
        copied.dtype,
        copied.ndim,
        len(copied),
        copied.nbytes,
    )


def test_rows_of_rows_are_rows_of_the_base():
    view = ImageRows(BASE, np.array([5, 3, 1])).rows(np.array([2, 0]))
    np.testing.assert_array_equal(np.asarray(view), BASE[[1, 5]])


def test_an_array_without_a_copy_is_refused():
    with pytest.raises(ValueError, match="without a copy"):
        np.array(ImageRows(BASE, np.array([0])), copy=False)


def test_reading_some_rows_of_a_map_reads_no_others(tmp_path):
    path = tmp_path / "images.npy"
    np.save(path, BASE)

    class Counting(np.memmap):
        read: list[int] = []  # noqa: RUF012 - one instance

        def __getitem__(self, key):
            Counting.read.extend(np.atleast_1d(key).tolist())
            return np.asarray(super().__getitem__(key))

    mapped = np.load(path, mmap_mode="r").view(Counting)
    view = ImageRows(mapped, np.array([4, 2, 6])).rows(np.array([0, 2]))
    assert Counting.read == []
    _ = view[1:]
    assert Counting.read == [6]
