"""Numbers and regions of a difference, against a flood fill by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fedpriv.errors import UserError
from fedpriv.he.pictures.changes import MOST_REGIONS, find_changes


def flood(mask):
    """Boxes (x, y, width, height, pixels) of 8-connected regions, by search."""
    remaining = {(y, x) for y, x in zip(*np.nonzero(mask), strict=True)}
    found = []
    while remaining:
        queue, region = [remaining.pop()], []
        while queue:
            y, x = queue.pop()
            region.append((y, x))
            near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & remaining
            remaining -= near
            queue += near
        ys, xs = zip(*region, strict=True)
        found.append((min(xs), min(ys), max(xs) - min(xs) + 1, max(ys) - min(ys) + 1, len(region)))
    return found


@settings(max_examples=60, deadline=None)
@given(
    arrays(
        np.int16,
        st.tuples(st.integers(1, 12), st.integers(1, 12), st.sampled_from([1, 3, 4])),
        elements=st.sampled_from([-255, -26, -25, 0, 0, 0, 0, 1, 25, 26, 255]),
    ),
    st.sampled_from([0, 25, 254]),
    st.integers(1, 4),
)
def test_regions_and_numbers_are_those_of_a_search_by_hand(difference, threshold, least):
    found = find_changes(difference, threshold, least)
    rows, columns = difference.shape[:2]
    mask = np.zeros((rows, columns), bool)
    for y in range(rows):
        for x in range(columns):
            mask[y, x] = max(abs(int(value)) for value in difference[y, x]) > threshold
    expected = [region for region in flood(mask) if region[4] >= least]
    assert sorted((r.x, r.y, r.width, r.height, r.pixels) for r in found.regions) == sorted(expected)
    assert found.regions_found == len(expected)
    assert [r.pixels for r in found.regions] == sorted((r[4] for r in expected), reverse=True)
    assert np.array_equal(found.mask, mask)
    values = [int(value) for value in difference.reshape(-1)]
    assert found.changed_share == mask.sum() / (rows * columns)
    assert found.max_abs == max(map(abs, values))
    assert found.mean == pytest.approx(sum(values) / len(values))
    assert found.mean_abs == pytest.approx(sum(map(abs, values)) / len(values))
    assert found.differing_share == (difference != 0).any(axis=2).sum() / (rows * columns)


def test_a_region_tells_its_own_largest_difference():
    difference = np.zeros((10, 20, 3), np.int16)
    difference[2:4, 3:8, 1] = -90
    difference[7, 15] = 255
    big, small = find_changes(difference, 25, 1).regions
    assert (big.x, big.y, big.width, big.height, big.pixels, big.largest) == (3, 2, 5, 2, 10, 90)
    assert (small.x, small.y, small.pixels, small.largest) == (15, 7, 1, 255)


def test_regions_that_touch_at_a_corner_are_one():
    difference = np.int16(255) * np.eye(5, dtype=np.int16)[..., None]
    assert find_changes(difference, 0, 1).regions_found == 1


def test_noise_all_over_lists_no_more_than_the_most_regions():
    difference = np.zeros((100, 100, 1), np.int16)
    difference[::2, ::2] = 100
    found = find_changes(difference, 25, 1)
    assert (found.regions_found, len(found.regions)) == (2500, MOST_REGIONS)


@pytest.mark.parametrize(("threshold", "least"), [(-1, 1), (255, 1), (0, 0)])
def test_senseless_thresholds_are_refused(threshold, least):
    with pytest.raises(UserError, match="give"):
        find_changes(np.zeros((2, 2, 1), np.int16), threshold, least)
