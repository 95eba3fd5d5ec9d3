"""Pairs of faces as one picture: what was said of them, and whether it was right."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from fedpriv.data.dataset import ImageDataset
from fedpriv.pairs import VerificationPairs

_FACE_HEIGHT, _GAP, _CAPTION = 112, 6, 20
_BACKGROUND = (24, 26, 30)
_RIGHT, _WRONG = (60, 220, 90), (255, 70, 60)


def draw_pairs(
    dataset: ImageDataset,
    pairs: VerificationPairs,
    shown: Sequence[int],
    scores: NDArray[np.floating],
    threshold: float,
) -> Image.Image:
    """Draw pairs of faces, each with its score; green where the verdict is right, red where wrong.

    Args:
        dataset: the images that ``pairs`` index.
        pairs: the protocol.
        shown: the pairs to draw, at least one.
        scores: (P,) of all pairs.
        threshold: a pair is accepted from this score on.
    """
    tiles = [_tile(dataset, pairs, pair, float(scores[pair]), threshold) for pair in shown]
    columns = 2 * max(1, round((len(tiles) / 3.2) ** 0.5))
    width, height = tiles[0].size
    rows = -(-len(tiles) // columns)
    sheet = Image.new("RGB", (columns * width, _CAPTION + rows * height), _BACKGROUND)
    text = f"score and truth; accepted from {threshold:.2f}   green: right   red: wrong"
    ImageDraw.Draw(sheet).text((_GAP, 3), text, fill="white", font=ImageFont.load_default(size=13))
    for index, tile in enumerate(tiles):
        sheet.paste(tile, (index % columns * width, _CAPTION + index // columns * height))
    return sheet


def _tile(
    dataset: ImageDataset, pairs: VerificationPairs, pair: int, score: float, threshold: float
) -> Image.Image:
    """Return both faces of a pair side by side in a coloured frame, the score below."""
    _, height, width = dataset.image_shape
    size = (max(1, round(_FACE_HEIGHT * width / height)), _FACE_HEIGHT)
    same = bool(pairs.same[pair])
    colour = _RIGHT if (score >= threshold) == same else _WRONG
    tile = Image.new("RGB", (2 * size[0] + 4 * _GAP, size[1] + 3 * _GAP + _CAPTION), _BACKGROUND)
    pen = ImageDraw.Draw(tile)
    pen.rectangle((2, 2, tile.width - 3, tile.height - 3), outline=colour, width=2)
    for place, index in enumerate((pairs.left[pair], pairs.right[pair])):
        pixels = np.ascontiguousarray(dataset.images[int(index)].transpose(1, 2, 0))
        face = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).convert("RGB")
        tile.paste(
            face.resize(size, Image.Resampling.BICUBIC), ((1 + place) * _GAP + place * size[0] + 3, _GAP)
        )
    kind = "same" if same else "different"
    pen.text(
        (_GAP + 3, size[1] + 2 * _GAP),
        f"{score:.2f}  {kind}",
        fill=colour,
        font=ImageFont.load_default(size=13),
    )
    return tile
