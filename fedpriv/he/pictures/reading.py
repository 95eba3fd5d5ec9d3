"""Pictures from files: 8-bit grey, RGB or RGBA, exactly as stored, or refused by name."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from fedpriv.errors import UserError
from fedpriv.formats.identity_folder import MAX_FILE_BYTES, open_image

Picture = NDArray[np.uint8]
"""(rows, columns, channels) uint8; 1 channel is grey, 3 are RGB, 4 are RGBA."""

CHANNELS = {1: "grey", 3: "RGB", 4: "RGBA"}
_PNG, _DEPTH_AT = b"\x89PNG\r\n\x1a\n", 24


def read_picture(path: Path) -> Picture:
    """Read a PNG, PGM/PPM, JPEG, BMP or WebP file.

    Grey stays grey and RGB and RGBA what they are; bilevel becomes grey; palettes and CMYK become RGB, RGBA
    where they have transparency. The turn that an EXIF header asks for is made.

    Edge cases:
        - More than 8 bits per channel are refused, and so are 16-bit RGB files, which Pillow would silently
          cut down to 8 bits.
        - Of an animation the first picture is read.
        - A file is opened only with at most 64 MiB, and decoded only with at most 50 million pixels.

    Raises:
        UserError: naming the file, when it is missing, too large, cut short, damaged, empty or of another
        format.
    """
    try:
        if not path.is_file():
            raise UserError(f"{path}: is no file; name a picture")
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check the file") from error
    if content.startswith(_PNG) and content[_DEPTH_AT : _DEPTH_AT + 1] == b"\x10":
        raise UserError(f"{path}: 16 bits per channel; save it with 8")
    with open_image(content, path) as image:
        if image.format == "PPM" and _wide(image):
            raise UserError(f"{path}: more than 8 bits per channel; save it with 8")
        pixels = np.asarray(_converted(ImageOps.exif_transpose(image)))
    return np.ascontiguousarray(pixels.reshape(*pixels.shape[:2], -1))


def require_alike(first: Picture, second: Picture, names: tuple[object, object]) -> None:
    """Refuse two pictures of different sizes or kinds.

    Raises:
        UserError: naming both.
    """
    if first.shape != second.shape:
        raise UserError(
            f"{names[0]}: {described(first.shape)}, and {names[1]}: {described(second.shape)}; "
            "give two pictures of one size and kind"
        )


def described(shape: tuple[int, ...]) -> str:
    """Return e.g. ``1280 x 960 RGB`` for (rows, columns, channels)."""
    rows, columns, channels = shape
    return f"{columns} x {rows} {CHANNELS.get(channels, f'{channels} channels')}"


def _converted(image: Image.Image) -> Image.Image:
    """Return an image whose mode is L, RGB or RGBA."""
    if image.mode in ("L", "RGB", "RGBA") and "transparency" not in image.info:
        return image
    if image.mode in ("1", "L") and "transparency" not in image.info:
        return image.convert("L")
    return image.convert("RGBA" if image.has_transparency_data else "RGB")


def _wide(image: Image.Image) -> bool:
    """Whether a PNM file has values above 255, which Pillow scales down."""
    tile = getattr(image, "tile", None)  # of files that were opened, and not typed
    arguments = tile[0].args if tile else None
    largest = arguments[-1] if isinstance(arguments, tuple) and isinstance(arguments[-1], int) else 0
    return largest > 255
