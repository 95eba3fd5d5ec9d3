"""What a difference tells: numbers, and connected regions of pixels that changed."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from fedpriv.errors import UserError

MOST_REGIONS = 1000
_EIGHT_CONNECTED = np.ones((3, 3), np.int8)


@dataclass(frozen=True)
class Region:
    """Changed pixels that touch each other, at an edge or a corner.

    Attributes:
        x: first column of the bounding box.
        y: first row.
        width: columns of the box.
        height: rows of the box.
        pixels: that changed in it.
        largest: absolute difference among them.
    """

    x: int
    y: int
    width: int
    height: int
    pixels: int
    largest: int


@dataclass(frozen=True)
class Changes:
    """What is to be said of one difference.

    Attributes:
        threshold: a pixel has changed when the absolute difference of one of its channels is larger.
        mask: (rows, columns) bool, the changed pixels of all regions, small ones included.
        differing_share: of pixels with any difference at all, 0..1.
        changed_share: of changed pixels.
        max_abs: the largest absolute difference of a value.
        mean_abs: the mean over all values.
        mean: of the signed differences.
        regions: of at least the least size asked for, most pixels first, at most :data:`MOST_REGIONS`.
        regions_found: how many there are of that size.
    """

    threshold: int
    mask: NDArray[np.bool_]
    differing_share: float
    changed_share: float
    max_abs: int
    mean_abs: float
    mean: float
    regions: tuple[Region, ...]
    regions_found: int


def find_changes(difference: NDArray[np.int16], threshold: int = 25, least_pixels: int = 9) -> Changes:
    """Threshold a difference and find its regions.

    Args:
        difference: (rows, columns, channels) int16 in -255..255.
        threshold: 0 to 254; see :class:`Changes`. Noise of cameras and of JPEG stays below 25 as a rule.
        least_pixels: of a region, at least 1; smaller ones are left out of the regions, not of the shares.

    Raises:
        UserError: when threshold or least size are out of range.
    """
    if not 0 <= threshold < 255:
        raise UserError(f"threshold {threshold}: give 0 to 254")
    if least_pixels < 1:
        raise UserError(f"least region {least_pixels}: give 1 pixel or more")
    magnitudes = np.abs(difference)
    absolute = magnitudes.max(axis=2)
    mask = absolute > threshold
    labels, _ = ndimage.label(mask, _EIGHT_CONNECTED)
    sizes = np.bincount(labels.reshape(-1))
    sizes[0] = 0  # what has not changed
    numbers = np.flatnonzero(sizes >= least_pixels)
    chosen = numbers[np.argsort(-sizes[numbers], kind="stable")][:MOST_REGIONS]
    boxes = ndimage.find_objects(labels)
    values = difference.size
    return Changes(
        threshold,
        mask,
        float(np.count_nonzero(absolute) / mask.size),
        float(np.count_nonzero(mask) / mask.size),
        int(absolute.max()),
        float(magnitudes.sum(dtype=np.int64) / values),
        float(difference.sum(dtype=np.int64) / values),
        tuple(_region(number, boxes[number - 1], labels, absolute) for number in chosen),
        len(numbers),
    )


def _region(
    number: int, box: tuple[slice, slice], labels: NDArray[np.int32], absolute: NDArray[np.int16]
) -> Region:
    rows, columns = box
    of_it = labels[box] == number
    return Region(
        columns.start,
        rows.start,
        columns.stop - columns.start,
        rows.stop - rows.start,
        int(np.count_nonzero(of_it)),
        int(absolute[box][of_it].max()),
    )
