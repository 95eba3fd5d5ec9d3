"""Folders of images sorted by person: ``root/<identity>/<image>``.

The layout of ORL (AT&T), LFW and most private collections. Images are read with Pillow, restricted
to a few formats, and only after the file's length and the size in its header were found harmless.
"""

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from fedpriv.errors import UserError

SUFFIXES = frozenset({".pgm", ".png", ".jpg", ".jpeg", ".bmp", ".webp"})
MAX_FILE_BYTES = 64 * 2**20
MAX_PIXELS = 50_000_000
_DECODERS = ("PPM", "PNG", "JPEG", "BMP", "WEBP")
_EIGHT_BIT_MODES = frozenset(
    {"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr"}
)


@dataclass(frozen=True)
class IdentityFolder:
    """What a folder of identities holds.

    Attributes:
        names: folder names in natural order (``s2`` before ``s10``).
        files: for each name its image files in natural order; may be empty.
        ignored: entries that are no image by their suffix, or lie at another depth.
    """

    names: tuple[str, ...]
    files: tuple[tuple[Path, ...], ...]
    ignored: int


def list_identities(root: Path) -> IdentityFolder:
    """List the identities under ``root`` and their image files, without opening any.

    Hidden entries, other file types and folders inside an identity's folder are counted as ignored.

    Raises:
        UserError: when ``root`` is no folder, an entry cannot be read, or a symbolic link leads
            out of ``root``.
    """
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; name one that holds a folder of images per person")
    boundary = root.resolve()
    names: list[str] = []
    files: list[tuple[Path, ...]] = []
    ignored = 0
    for folder in _entries(root, boundary):
        if not folder.is_dir() or folder.name.startswith("."):
            ignored += 1
            continue
        entries = _entries(folder, boundary)
        images = tuple(entry for entry in entries if _looks_like_image(entry))
        ignored += len(entries) - len(images)
        names.append(folder.name)
        files.append(images)
    return IdentityFolder(tuple(names), tuple(files), ignored)


def decode_image(
    content: bytes, source: object, height: int, width: int, colour: bool = False, centre: float = 1.0
) -> NDArray[np.uint8]:
    """Decode one image, crop it centrally to the aspect asked for and resize it.

    The orientation in the EXIF header is applied and transparency dropped. Grey is ITU-R 601-2 luma,
    0.299 R + 0.587 G + 0.114 B. Resizing uses Pillow's bilinear filter, whose support grows with the
    reduction (antialiased).

    Args:
        content: all of a PGM/PPM, PNG, JPEG, BMP or WebP file of at most ``MAX_FILE_BYTES`` bytes, at most
            ``MAX_PIXELS`` pixels and 8 bits per channel.
        source: what refusals name, e.g. its path, or ``train.rec: offset 8``.
        height: rows of the result.
        width: columns of the result.
        colour: RGB instead of grey.
        centre: keep only this fraction of the crop's height and width, around the middle.

    Returns:
        (C, height, width) uint8 with C = 3 or 1.

    Raises:
        UserError: when the image is too large, damaged or of another format.
        ValueError: when ``height`` or ``width`` is not positive, or ``centre`` not in (0, 1].
    """
    if height < 1 or width < 1:
        raise ValueError(f"height={height}, width={width}: both must be positive")
    if not 0 < centre <= 1:
        raise ValueError(f"centre={centre}: must be above 0 and at most 1")
    with open_image(content, source) as image:
        return _fitted(image, height, width, colour, centre)


@contextmanager
def open_image(file: Path | bytes, source: object) -> Iterator[Image.Image]:
    """Open an image file, or the bytes of one, after its length and the size in its header were checked.

    Pixels are decoded by what the block does; a decoder's errors there are refusals too.

    Raises:
        UserError: naming ``source``, when it is missing, too large, damaged or of another format.
    """
    try:
        length = len(file) if isinstance(file, bytes) else file.stat().st_size
    except OSError as error:
        raise UserError(f"{source}: cannot be read ({error.strerror}); check the file") from error
    if length > MAX_FILE_BYTES:
        raise UserError(f"{source}: {length} bytes, the limit is {MAX_FILE_BYTES}; save it smaller")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            opened = io.BytesIO(file) if isinstance(file, bytes) else file
            with Image.open(opened, formats=_DECODERS) as image:
                _check(source, image)
                yield image
    except UserError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UserError(f"{source}: far more than {MAX_PIXELS} pixels; save it smaller") from error
    except UnidentifiedImageError as error:  # its own text holds the address of a buffer
        raise UserError(
            f"{source}: not a readable {', '.join(sorted(SUFFIXES))} image (unknown format); "
            "save it again or remove it"
        ) from error
    # Decoders meet damaged bytes with OSError, SyntaxError, struct.error, zlib.error and others.
    except Exception as error:
        raise UserError(
            f"{source}: not a readable {', '.join(sorted(SUFFIXES))} image ({error}); "
            "save it again or remove it"
        ) from error


def _check(source: object, image: Image.Image) -> None:
    """Refuse by its header what is too large or has more than 8 bits per channel."""
    if image.width * image.height > MAX_PIXELS:
        raise UserError(
            f"{source}: {image.width} x {image.height} pixels, the limit is {MAX_PIXELS}; save it smaller"
        )
    if image.mode not in _EIGHT_BIT_MODES:
        raise UserError(f"{source}: pixel type {image.mode}; save it with 8 bits per channel")


def _fitted(image: Image.Image, height: int, width: int, colour: bool, centre: float) -> NDArray[np.uint8]:
    """Turn an opened image into an array."""
    upright = ImageOps.exif_transpose(image).convert("RGB" if colour else "L")
    cut_width = min(upright.width, upright.height * width / height) * centre
    cut_height = min(upright.height, upright.width * height / width) * centre
    left, top = (upright.width - cut_width) / 2, (upright.height - cut_height) / 2
    resized = upright.resize(
        (width, height), Image.Resampling.BILINEAR, box=(left, top, left + cut_width, top + cut_height)
    )
    pixels = np.asarray(resized, dtype=np.uint8).reshape(height, width, -1)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _entries(folder: Path, boundary: Path) -> list[Path]:
    """Return what ``folder`` holds in natural order; refuse links that leave ``boundary``."""
    try:
        entries = sorted(folder.iterdir(), key=lambda entry: _natural(entry.name))
    except OSError as error:
        raise UserError(f"{folder}: cannot be listed ({error.strerror}); check its permissions") from error
    for entry in entries:
        if entry.is_symlink() and not entry.resolve().is_relative_to(boundary):
            raise UserError(f"{entry}: a symbolic link that leaves {boundary}; copy the file into the folder")
    return entries


def _natural(name: str) -> tuple[tuple[tuple[int, str], ...], str]:
    """Return a sort key that orders runs of digits by value, and by text where values agree."""
    parts = re.findall(r"[0-9]+|[^0-9]+", name)
    return tuple((int(part), "") if part.isdecimal() else (-1, part) for part in parts), name


def _looks_like_image(entry: Path) -> bool:
    return entry.suffix.lower() in SUFFIXES and not entry.name.startswith(".") and entry.is_file()
