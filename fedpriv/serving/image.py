"""A picture on its way to a model: 8-bit grey, small, and brought to the size that the model takes."""

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from fedpriv.errors import UserError
from fedpriv.formats.crop import crop_resize
from fedpriv.formats.identity_folder import open_image
from fedpriv.types import AnyArray

GreyImage = NDArray[np.uint8]
"""(H, W) uint8, both sides from :data:`LEAST_SIDE` to :data:`MOST_SIDE`."""

LEAST_SIDE, MOST_SIDE = 8, 128


def check_image(image: AnyArray, source: str = "image") -> None:
    """Refuse what is not a :data:`GreyImage`.

    Raises:
        UserError: naming ``source`` and what was found.
    """
    if image.ndim != 2 or image.dtype != np.uint8:
        raise UserError(f"{source}: {image.dtype} {image.shape}; give rows x columns of 8-bit grey")
    rows, columns = image.shape
    if min(rows, columns) < LEAST_SIDE or max(rows, columns) > MOST_SIDE:
        raise UserError(f"{source}: {rows} x {columns} pixels; give sides of {LEAST_SIDE} to {MOST_SIDE}")


def fit(image: GreyImage, height: int, width: int) -> GreyImage:
    """Resize a picture to what a model takes, as the data loaders resize what they cut out.

    Pillow's bilinear filter, whose support grows with the reduction (antialiased); whole numbers, so that
    every processor gives the same pixels. The whole picture is kept: its aspect becomes the model's.

    Edge cases:
        A picture of that size is returned as it is.

    Args:
        image: (H, W) uint8.
        height: rows of the result.
        width: columns of the result.
    """
    rows, columns = image.shape
    if (rows, columns) == (height, width):
        return image
    resized: GreyImage = crop_resize(image[..., None], (0.0, 0.0, columns, rows), height, width)[0]
    return resized


def within(image: GreyImage, most_pixels: int) -> GreyImage:
    """Shrink a picture, its aspect kept, until it has at most ``most_pixels`` and no side over 128.

    Edge cases:
        - A picture that is small enough is returned as it is.
        - Sides never fall below 1: a strip keeps its length as far as ``most_pixels`` lets it, and
          :func:`check_image` refuses it.

    Args:
        image: (H, W) uint8 of any size.
        most_pixels: at least 1.

    Raises:
        ValueError: ``most_pixels`` is below 1, or the picture has no pixels.
    """
    rows, columns = image.shape
    if most_pixels < 1 or not image.size:
        raise ValueError(f"most_pixels={most_pixels}, picture {rows} x {columns}: both need at least 1 pixel")
    share = min(1.0, math.sqrt(most_pixels / (rows * columns)), MOST_SIDE / max(rows, columns))
    if share == 1.0:
        return image
    width = max(1, int(columns * share))
    height = max(1, min(int(rows * share), most_pixels // width))
    return fit(image, height, min(width, most_pixels // height))


def read_image(content: bytes, source: object) -> GreyImage:
    """Decode the bytes of a PGM/PPM, PNG, JPEG, BMP or WebP file to grey, in its own size.

    Grey is ITU-R 601-2 luma, 0.299 R + 0.587 G + 0.114 B; the turn that an EXIF header asks for is made.

    Args:
        content: an image file of at most 64 MiB, 50 million pixels and 8 bits per channel.
        source: what refusals name.

    Returns:
        (H, W) uint8 of any size.

    Raises:
        UserError: it is too large, damaged or of another format.
    """
    with open_image(content, source) as image:
        return np.array(ImageOps.exif_transpose(image).convert("L"))


def as_picture(image: GreyImage) -> Image.Image:
    """Return the same pixels for drawing."""
    return Image.fromarray(np.ascontiguousarray(image))
