"""Structural similarity of two pictures (SSIM).

Source: Wang, Bovik, Sheikh, Simoncelli 2004, "Image quality assessment: from error visibility to structural
similarity", IEEE Trans. Image Processing 13(4), doi 10.1109/TIP.2003.819861.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

WINDOW, SIGMA = 11, 1.5
_RANGE, _K1, _K2 = 255.0, 0.01, 0.03
_C1, _C2 = (_K1 * _RANGE) ** 2, (_K2 * _RANGE) ** 2
Pictures = NDArray[np.uint8]


def ssim(first: Pictures, second: Pictures) -> NDArray[np.float64]:
    """Return the mean SSIM of every picture of one stack with every picture of another.

    Per window, with means m, variances v and covariance c of both pictures under the window's weights,

        (2 m1 m2 + C1) (2 c + C2) / ((m1^2 + m2^2 + C1) (v1 + v2 + C2)),

    C1 = (0.01 * 255)^2, C2 = (0.03 * 255)^2, in the mean over all 11 x 11 windows that lie wholly in the
    picture. Weights are Gaussian, of standard deviation 1.5 pixels, and add up to 1; variances are those
    under the weights, not corrected for the sample. 1 for equal pictures, about 0 for a picture and noise.

    Args:
        first: (A, height, width) uint8, sides of at least 11.
        second: (B, height, width) uint8.

    Returns:
        (A, B) float64.

    Raises:
        ValueError: sizes differ, or are below the window's.
    """
    if first.ndim != 3 or second.ndim != 3 or first.shape[1:] != second.shape[1:]:
        raise ValueError(f"ssim: {first.shape} and {second.shape}; give stacks of pictures of one size")
    height, width = first.shape[1:]
    if min(height, width) < WINDOW:
        raise ValueError(f"ssim: {height} x {width} pixels; a window has {WINDOW} x {WINDOW}")
    x, y = first.astype(np.float64), second.astype(np.float64)
    mean_x, mean_y = _windows(x), _windows(y)
    spread_x = _windows(np.square(x)) - np.square(mean_x)
    spread_y = _windows(np.square(y)) - np.square(mean_y)
    found = np.empty((len(x), len(y)))
    for row, picture in enumerate(x):
        product = mean_x[row] * mean_y
        shared = _windows(picture * y) - product
        likeness = (2 * product + _C1) * (2 * shared + _C2)
        likeness /= np.square(mean_x[row]) + np.square(mean_y) + _C1
        likeness /= spread_x[row] + spread_y + _C2
        found[row] = likeness.mean(axis=(1, 2))
    return found


def _windows(pictures: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (N, height - 10, width - 10): the weighted mean of every window.

    Plain sums of shifted pictures: matrices this small would keep a threaded BLAS busy with itself.
    """
    weights = np.exp(-((np.arange(WINDOW) - WINDOW // 2) ** 2) / (2 * SIGMA**2))
    weights /= weights.sum()
    height, width = (side - WINDOW + 1 for side in pictures.shape[1:])
    down = _sum(weight * pictures[:, start : start + height] for start, weight in enumerate(weights))
    return _sum(weight * down[:, :, start : start + width] for start, weight in enumerate(weights))


def _sum(parts: Iterator[NDArray[np.float64]]) -> NDArray[np.float64]:
    total = next(parts)
    for part in parts:
        total += part
    return total
