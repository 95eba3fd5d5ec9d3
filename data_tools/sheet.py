"""A contact sheet: small pictures in rows, each with a line of text below."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps

from fedpriv.errors import UserError
from fedpriv.formats.files import atomic_output

TILES, SIDE = 48, 112
_COLUMNS, _GAP, _TEXT, _HEAD = 8, 8, 16, 28
_LONGEST = 300
_PAPER, _INK, _EMPTY = (255, 255, 255), (20, 20, 20), (225, 225, 225)


@dataclass(frozen=True)
class Tile:
    """A picture and what it shows."""

    image: Image.Image
    caption: str


def shrunk(image: Image.Image) -> Image.Image:
    """Return an upright RGB copy, reduced to at most ``SIDE`` pixels a side; ``image`` may change."""
    image.draft("RGB", (2 * SIDE, 2 * SIDE))  # JPEG is then decoded at a fraction of its size
    small = image.convert("RGB")
    small.thumbnail((SIDE, SIDE))
    upright = ImageOps.exif_transpose(small)
    upright.info = {}  # profiles and comments can be larger than the picture
    return upright


def write_sheet(path: Path, title: str, tiles: Sequence[Tile]) -> None:
    """Draw ``tiles`` row by row into a PNG.

    Raises:
        UserError: when there is nothing to show, ``path`` ends otherwise, or it cannot be written.
    """
    if path.suffix.lower() != ".png":
        raise UserError(f"--sheet {path}: is written as PNG; end it in .png")
    if not tiles:
        raise UserError(f"--sheet {path}: there is no readable image to show")
    columns = min(_COLUMNS, len(tiles))
    rows = -(-len(tiles) // columns)
    cell = SIDE + _GAP
    size = (max(4, columns) * cell + _GAP, _HEAD + rows * (cell + _TEXT) + _GAP)
    sheet = Image.new("RGB", size, _PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((_GAP, _GAP), _fit(draw, title, _font(14), size[0] - 2 * _GAP), _INK, _font(14))
    for place, tile in enumerate(tiles):
        left, top = _GAP + place % columns * cell, _HEAD + place // columns * (cell + _TEXT)
        picture = ImageOps.contain(tile.image.convert("RGB"), (SIDE, SIDE))
        draw.rectangle((left, top, left + SIDE - 1, top + SIDE - 1), _EMPTY)
        sheet.paste(picture, (left + (SIDE - picture.width) // 2, top + (SIDE - picture.height) // 2))
        draw.text((left, top + SIDE + 2), _fit(draw, tile.caption, _font(11), SIDE), _INK, _font(11))
    with atomic_output(path) as file:
        sheet.save(file, "PNG")


def _font(size: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    return ImageFont.load_default(size)


def _fit(
    draw: ImageDraw.ImageDraw, text: str, font: ImageFont.ImageFont | ImageFont.FreeTypeFont, width: int
) -> str:
    """Return as much of ``text`` as is printable and not wider than ``width``."""
    shown = "".join(character if character.isprintable() else "?" for character in text[:_LONGEST])
    if draw.textlength(shown, font) <= width:
        return shown
    while shown and draw.textlength(shown + "...", font) > width:
        shown = shown[:-1]
    return shown + "..."
