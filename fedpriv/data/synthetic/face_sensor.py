"""What a camera makes of light: exposure, white balance, blur, gamma, noise, compression, rounding.

Cameras expose every picture anew: the mean brightness of a picture tells nothing of the person.
"""

import numpy as np

from fedpriv.data.synthetic.face_scene import FaceViews, FloatArray
from fedpriv.types import ByteImages

_BLOCK = 8


def _cosines() -> FloatArray:
    """Return the orthonormal DCT-II matrix (8, 8)."""
    order, place = np.mgrid[0:_BLOCK, 0:_BLOCK]
    matrix = np.sqrt(2.0 / _BLOCK) * np.cos(np.pi * (place + 0.5) * order / _BLOCK)
    matrix[0] *= np.sqrt(0.5)
    return np.asarray(matrix, dtype=np.float32)


_DCT = _cosines()
_COARSENESS = (1.0 + np.add.outer(np.arange(_BLOCK), np.arange(_BLOCK))).astype(np.float32)
"""Coarser steps for higher frequencies, about as in the JPEG standard's luminance table."""


def compress(pictures: FloatArray, quantum: FloatArray) -> FloatArray:
    """Round the 8 x 8 DCT coefficients of pictures (B, C, H, W) to multiples of quantum (1 + u + v).

    Like JPEG but for its colour space and entropy coding. A quantum of 0 leaves a picture as it is.
    """
    count, channels, height, width = pictures.shape
    pad = ((0, 0), (0, 0), (0, -height % _BLOCK), (0, -width % _BLOCK))
    padded = np.pad(pictures, pad, mode="edge")
    shape = (count, channels, padded.shape[2] // _BLOCK, _BLOCK, padded.shape[3] // _BLOCK, _BLOCK)
    blocks = padded.reshape(shape).transpose(0, 1, 2, 4, 3, 5)
    coefficients = _DCT @ blocks @ _DCT.T
    step = np.maximum(quantum, 1e-6)[:, None, None, None, None, None] * _COARSENESS
    rounded = np.rint(coefficients / step) * step
    back = (_DCT.T @ rounded @ _DCT).transpose(0, 1, 2, 4, 3, 5).reshape(padded.shape)
    return np.asarray(back[:, :, :height, :width], dtype=np.float32)


def expose(scene: FloatArray, views: FaceViews) -> ByteImages:
    """Pass light (B, C, H, W) through the sensor: uint8 of the same shape."""
    gain = views.exposure / np.maximum(scene.mean(axis=(1, 2, 3)), 1e-3)
    light = scene * (gain[:, None] * views.balance)[:, :, None, None]
    side = views.blur[:, None, None, None]
    centre = 1.0 - 2.0 * side
    padded = np.pad(light, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="edge")
    rows = padded[:, :, 1:-1] * centre + (padded[:, :, :-2] + padded[:, :, 2:]) * side
    blurred = rows[..., 1:-1] * centre + (rows[..., :-2] + rows[..., 2:]) * side
    np.clip(blurred, 0.0, 1.5, out=blurred)
    np.power(blurred, views.gamma[:, None, None, None], out=blurred)
    blurred += views.grain * views.noise[:, None, None, None]
    np.clip(blurred, 0.0, 1.0, out=blurred)
    packed = compress(blurred, views.quantum) if bool(views.quantum.any()) else blurred
    return np.clip(np.rint(packed * 255.0), 0.0, 255.0).astype(np.uint8)
