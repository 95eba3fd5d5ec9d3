"""A confusion matrix beside sample images with prediction and truth, as one picture."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from fedpriv.data.dataset import ImageDataset

_CELL, _NAMES, _CAPTION, _GAP = 50, 76, 22, 6
_IMAGE_HEIGHT = 96
_BACKGROUND = (24, 26, 30)
_EMPTY, _FULL = np.array([38, 42, 50]), np.array([40, 150, 235])
_RIGHT, _WRONG = (60, 220, 90), (255, 70, 60)


def draw_expressions(
    counts: NDArray[np.int64], shown: ImageDataset, predicted: NDArray[np.int64]
) -> Image.Image:
    """Put the matrix to the left of the images.

    Args:
        counts: (K, K) confusion matrix, rows the truth.
        shown: the images to draw.
        predicted: (len(shown),) their predicted classes.
    """
    matrix = _matrix(counts, shown.class_names)
    images = _images(shown, predicted, matrix.height)
    sheet = Image.new(
        "RGB",
        (matrix.width + images.width + 2 * _GAP, max(matrix.height, images.height)),
        _BACKGROUND,
    )
    sheet.paste(matrix, (0, 0))
    sheet.paste(images, (matrix.width + 2 * _GAP, 0))
    return sheet


def _matrix(counts: NDArray[np.int64], names: tuple[str, ...]) -> Image.Image:
    """Draw counts in cells, the brighter the larger a share of its row."""
    side = len(names) * _CELL
    sheet = Image.new("RGB", (_NAMES + side + _GAP, _CAPTION + side + _CAPTION), _BACKGROUND)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=12)
    pen.text((_GAP, 4), "rows: truth   columns: prediction", fill="white", font=font)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    for row, name in enumerate(names):
        top = _CAPTION + row * _CELL
        pen.text((_NAMES - _GAP, top + _CELL / 2), name[:11], fill="white", font=font, anchor="rm")
        for column in range(len(names)):
            left = _NAMES + column * _CELL
            share = float(shares[row, column])
            colour = tuple(int(value) for value in _EMPTY + share * (_FULL - _EMPTY))
            pen.rectangle((left, top, left + _CELL - 2, top + _CELL - 2), fill=colour)
            middle = left + _CELL / 2 - 1
            pen.text((middle, top + 17), f"{100 * share:.0f} %", fill="white", font=font, anchor="mm")
            pen.text(
                (middle, top + 34), str(counts[row, column]), fill=(170, 178, 190), font=font, anchor="mm"
            )
        pen.text(
            (_NAMES + row * _CELL + _CELL / 2, _CAPTION + side + 9),
            name[:8],
            fill="white",
            font=font,
            anchor="mm",
        )
    return sheet


def _images(shown: ImageDataset, predicted: NDArray[np.int64], room: int) -> Image.Image:
    """Draw images in a block about as high as ``room``, each over its prediction and its truth."""
    channels, height, width = shown.image_shape
    size = (max(1, round(_IMAGE_HEIGHT * width / height)), _IMAGE_HEIGHT)
    tile = (max(size[0], 84) + _GAP, size[1] + 2 * _CAPTION - 8)
    rows = min(len(shown), max(1, round((room - _CAPTION) / tile[1])))
    columns = -(-len(shown) // rows)
    sheet = Image.new("RGB", (max(columns * tile[0], 200), _CAPTION + rows * tile[1]), _BACKGROUND)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=12)
    pen.text((0, 4), "prediction (green: right, red: wrong)", fill="white", font=font)
    for index in range(len(shown)):
        left, top = index % columns * tile[0], _CAPTION + index // columns * tile[1]
        pixels = np.ascontiguousarray(shown.images[index].transpose(1, 2, 0))
        face = Image.fromarray(pixels[..., 0] if channels == 1 else pixels).convert("RGB")
        sheet.paste(face.resize(size, Image.Resampling.BICUBIC), (left, top))
        guess, truth = int(predicted[index]), int(shown.targets[index])
        pen.text(
            (left, top + size[1] + 1),
            shown.class_names[guess][:12],
            fill=_RIGHT if guess == truth else _WRONG,
            font=font,
        )
        if guess != truth:
            pen.text(
                (left, top + size[1] + 15),
                f"is {shown.class_names[truth][:10]}",
                fill=(200, 205, 215),
                font=font,
            )
    return sheet
