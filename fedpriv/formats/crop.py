"""A box of a picture, resized: how eyes and faces are cut out of frames."""

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fedpriv.formats.identity_folder import open_image

Box = tuple[float, float, float, float]
"""x and y of the top left corner, width, height; pixels, x to the right, y down."""


def decode_picture(content: bytes, source: object, colour: bool) -> NDArray[np.uint8]:
    """Decode a picture as it is stored: a turn that its EXIF header asks for is not made.

    Args:
        content: the bytes of an image file.
        source: what refusals name.
        colour: RGB instead of grey (ITU-R 601-2 luma).

    Returns:
        (H, W, C) uint8, C = 3 or 1.

    Raises:
        UserError: it is too large, damaged or of another format.
    """
    with open_image(content, source) as image:
        pixels = np.asarray(image.convert("RGB" if colour else "L"))
    return pixels.reshape(*pixels.shape[:2], -1)


def crop_resize(picture: NDArray[np.uint8], box: Box, height: int, width: int) -> NDArray[np.uint8]:
    """Cut ``box`` out of a picture (H, W, C) and resize it; what lies outside the picture is black.

    Resizing uses Pillow's bilinear filter, whose support grows with the reduction (antialiased).

    Returns:
        (C, height, width) uint8.

    Raises:
        ValueError: the box does not touch the picture, or is over three times as long as it.
    """
    x, y, across, down = box
    rows, columns = picture.shape[:2]
    inside = x < columns and y < rows and x + across > 0 and y + down > 0
    if not (inside and 0 < across <= 3 * columns and 0 < down <= 3 * rows):
        raise ValueError(
            f"box x={x:.0f} y={y:.0f} {across:.0f} x {down:.0f}: not in {columns} x {rows} pixels"
        )
    left, top = max(0, math.ceil(-x)), max(0, math.ceil(-y))
    right, bottom = max(0, math.ceil(x + across) - columns), max(0, math.ceil(y + down) - rows)
    if left or top or right or bottom:
        picture = np.pad(picture, ((top, bottom), (left, right), (0, 0)))
    x, y = x + left, y + top
    image = Image.fromarray(picture if picture.shape[2] == 3 else picture[..., 0])
    resized = image.resize((width, height), Image.Resampling.BILINEAR, box=(x, y, x + across, y + down))
    pixels = np.asarray(resized).reshape(height, width, -1)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def resize(picture: NDArray[np.uint8], height: int, width: int, colour: bool) -> NDArray[np.uint8]:
    """Resize an RGB picture (H, W, 3) to (3, height, width), or (1, height, width) of its luma."""
    image = Image.fromarray(np.ascontiguousarray(picture)).convert("RGB" if colour else "L")
    pixels = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR)).reshape(height, width, -1)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))
