"""What each relay sees of an image, drawn: one row per design, one column per relay."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from fedpriv.attacks.relays.holdings import body_of, readings_of_pieces
from fedpriv.attacks.relays.original_server import BANDS, RELAYS, Band, pixels
from fedpriv.attacks.relays.similarity import ssim
from fedpriv.serving.image import GreyImage

Seen = NDArray[np.int16]
"""(height, width): grey levels from 0 to 255, and -1 for pixels of which nothing is held."""

_Colour = tuple[int, int, int]

_UNKNOWN = -1
_SHOWS = 0.2
_CELL, _GAP, _HEAD, _LINE = 176, 14, 34, 20
_TITLE = 22
_BACKGROUND, _EMPTY, _EDGE = (24, 26, 30), (44, 48, 56), (74, 82, 96)
_TEXT, _FAINT, _BAD, _GOOD = (240, 242, 245), (160, 168, 180), (255, 120, 96), (96, 208, 140)


@dataclass(frozen=True, eq=False)
class Row:
    """What one design lets relays see of one image.

    Attributes:
        title: one line.
        image: what was sent.
        held: by relay; a relay that is not named has no piece.
        captions: by relay.
        pooled: what all relays of the image but one make of what they hold.
        together: what all of them make of it.
    """

    title: str
    image: GreyImage
    held: Mapping[str, Seen]
    captions: Mapping[str, str]
    pooled: Seen
    together: Seen


def original_row(image: GreyImage, received: Mapping[str, Band], servers: str) -> Row:
    """Return the row of the original's design.

    Args:
        image: what was sent.
        received: the bands of this image, by relay.
        servers: its sequence of relays.
    """
    third = len(image) // BANDS
    held = {}
    for place, name in enumerate(servers):
        held[name] = np.full(image.shape, _UNKNOWN, np.int16)
        held[name][place * third : (place + 1) * third] = pixels(received[name])
    return Row(
        "The original: bands of rows, in clear",
        image,
        held,
        {name: f"band {place + 1} of {BANDS}" for place, name in enumerate(servers)},
        np.maximum.reduce([held[name] for name in servers[:-1]]),
        np.maximum.reduce(list(held.values())),
    )


def sealed_row(image: GreyImage, envelopes: Mapping[str, bytes]) -> Row:
    """Return the row of what relays here hold in fact.

    Args:
        image: what was sent.
        envelopes: of this image by relay, in the order of the shares.
    """
    pieces = [body_of(envelope) for envelope in envelopes.values()]
    return _shares("fedpriv: additive shares, each sealed to the model server", image, pieces, envelopes, 0)


def opened_row(image: GreyImage, shares: Mapping[str, bytes]) -> Row:
    """Return the row of what relays here would hold if the seal were broken.

    Args:
        image: what was sent.
        shares: of its payload by relay, all of them.
    """
    pieces = [np.frombuffer(share, np.uint8) for share in shares.values()]
    return _shares("fedpriv, were every seal broken: the shares themselves", image, pieces, shares, 1)


def draw_rows(rows: Sequence[Row]) -> Image.Image:
    """Draw rows below each other, enlarged without smoothing.

    Args:
        rows: at least one; images may differ. Below what is pooled stands its SSIM with the image.

    Returns:
        RGB.

    Raises:
        ValueError: there are none.
    """
    if not rows:
        raise ValueError("draw_rows: no rows")
    heights = [_height(row) for row in rows]
    columns = len(RELAYS) + 3
    width = columns * (_CELL + _GAP) + _GAP
    sheet = Image.new("RGB", (width, _HEAD + sum(heights) + _GAP), _BACKGROUND)
    pen = ImageDraw.Draw(sheet)
    heads = ("image", *(f"relay {name}" for name in RELAYS), "all its relays but one", "all its relays")
    for column, head in enumerate(heads):
        _centred(pen, column, _GAP // 2, head, _TEXT, 16)
    top = _HEAD
    for row, height in zip(rows, heights, strict=True):
        pen.line([(_GAP, top), (width - _GAP, top)], fill=_EDGE)
        pen.text((_GAP, top + 6), row.title, fill=_TEXT, font=_font(15))
        below = top + 6 + _TITLE + 4
        cells: list[tuple[Seen | None, str, _Colour]] = [(row.image.astype(np.int16), "sent", _FAINT)]
        cells += [(row.held.get(name), row.captions.get(name, "no piece"), _FAINT) for name in RELAYS]
        for pool in (row.pooled, row.together):
            found = likeness(pool, row.image)
            cells.append((pool, f"SSIM {found:.2f}", _BAD if found > _SHOWS else _GOOD))
        for column, (seen, caption, colour) in enumerate(cells):
            left = _GAP + column * (_CELL + _GAP)
            picture = _enlarged(seen, _cell_height(row))
            sheet.paste(picture, (left, below))
            pen.rectangle([left - 1, below - 1, left + picture.width, below + picture.height], outline=_EDGE)
            _centred(pen, column, below + picture.height + 3, caption, colour, 13)
        top += height
    return sheet


def likeness(seen: Seen, image: GreyImage) -> float:
    """Return the SSIM of an image and what is seen of it, unknown pixels taken for the mean of the known."""
    known = seen != _UNKNOWN
    mean = int(seen[known].mean()) if known.any() else 0
    filled = np.where(known, seen, mean).astype(np.uint8)
    return float(ssim(filled[None], image[None])[0, 0])


def _shares(
    title: str, image: GreyImage, pieces: list[NDArray[np.uint8]], names: Mapping[str, bytes], broken: int
) -> Row:
    count = len(pieces)
    all_of, all_but_one = (
        readings_of_pieces(np.stack(some)[None], *image.shape)[0].astype(np.int16)
        for some in (pieces, pieces[:-1])
    )
    kind = "share {} of {}" if broken else "share {} of {}, sealed"
    return Row(
        title,
        image,
        dict(zip(names, all_of, strict=False)),
        {name: kind.format(which + 1, count) for which, name in enumerate(names)},
        all_but_one[-1],
        all_of[-1],
    )


def _cell_height(row: Row) -> int:
    height, width = row.image.shape
    return round(int(height) * _CELL / int(width))


def _height(row: Row) -> int:
    return 6 + _TITLE + 4 + _cell_height(row) + _LINE + _GAP


def _enlarged(seen: Seen | None, height: int) -> Image.Image:
    if seen is None:
        empty = Image.new("RGB", (_CELL, height), _BACKGROUND)
        pen = ImageDraw.Draw(empty)
        pen.line([(0, height), (_CELL, 0)], fill=_EMPTY, width=2)
        return empty
    colours = np.repeat(np.clip(seen, 0, 255).astype(np.uint8)[..., None], 3, axis=2)
    colours[seen == _UNKNOWN] = _EMPTY
    return Image.fromarray(colours).resize((_CELL, height), Image.Resampling.NEAREST)


def _centred(pen: ImageDraw.ImageDraw, column: int, top: int, text: str, colour: _Colour, size: int) -> None:
    left = _GAP + column * (_CELL + _GAP) + (_CELL - pen.textlength(text, font=_font(size))) / 2
    pen.text((left, top), text, fill=colour, font=_font(size))


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=size)
