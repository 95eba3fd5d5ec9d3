"""Differences as pictures: signed around 128, absolute, and the changes marked on the second picture."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from fedpriv.he.pictures.changes import Changes
from fedpriv.he.pictures.reading import Picture

_TINT = np.array([255, 32, 32], np.uint16)
_BOX = (255, 208, 0)
_MOST_BOXES = 200


def signed_picture(difference: NDArray[np.int16]) -> Picture:
    """Return 128 + floor(d / 2), (rows, columns, channels) uint8: equal is 128, brighter is above."""
    return ((difference >> 1) + 128).astype(np.uint8)


def absolute_picture(difference: NDArray[np.int16]) -> Picture:
    """Return |d|, (rows, columns, channels) uint8: equal is black."""
    return np.abs(difference).astype(np.uint8)


def overlay(picture: Picture, changes: Changes) -> Picture:
    """Return the second picture in pale grey, (rows, columns, 3) uint8, changes red, regions in boxes.

    Edge cases:
        - Transparency is left out; of many regions the 200 largest get a box.
    """
    colours = picture[..., :3] if picture.shape[2] >= 3 else np.repeat(picture, 3, axis=2)
    # narrow types and one channel while it goes: pictures may have 50 million pixels
    grey = colours.sum(axis=2, dtype=np.uint16) // 3
    pale = ((grey + 96) * 2 // 3).astype(np.uint8)
    drawn = np.repeat(pale[..., np.newaxis], 3, axis=2)
    drawn[changes.mask] = (colours[changes.mask] + 2 * _TINT) // 3
    image = Image.fromarray(drawn)
    canvas, line = ImageDraw.Draw(image), max(1, round(max(picture.shape[:2]) / 400))
    for region in changes.regions[:_MOST_BOXES]:
        left, top = region.x - line, region.y - line
        right, bottom = region.x + region.width + line - 1, region.y + region.height + line - 1
        canvas.rectangle((left, top, right, bottom), outline=_BOX, width=line)
    return np.asarray(image)


def as_images(picture: Picture) -> dict[str, Image.Image]:
    """Return what is to be saved, by the end of its name: colours, and transparency as grey.

    A picture whose transparency were the difference of two would show nothing.
    """
    if picture.shape[2] == 1:
        return {"": Image.fromarray(picture[..., 0])}
    images = {"": Image.fromarray(np.ascontiguousarray(picture[..., :3]))}
    if picture.shape[2] == 4:
        images["-alpha"] = Image.fromarray(np.ascontiguousarray(picture[..., 3]))
    return images
