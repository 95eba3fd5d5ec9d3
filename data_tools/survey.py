"""Count what a stream of encoded images holds, and keep a few of them to show."""

import contextlib
import hashlib
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from data_tools.sheet import TILES, Tile, shrunk
from fedpriv.errors import UserError
from fedpriv.formats.identity_folder import open_image
from fedpriv.seeding import generator

_BOUNDS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
_SHOWN = 5


class Survey:
    """Facts about images that come one after another."""

    def __init__(self, decode: bool = True, pictures: bool = False) -> None:
        """Begin.

        Args:
            decode: decode every image in full, to find damaged ones; headers alone otherwise.
            pictures: keep some of the images, reduced to the size of a tile.
        """
        self.images = 0
        self.per_person: Counter[str] = Counter()
        self._decode, self._pictures = decode, pictures
        self._formats: Counter[str] = Counter()
        self._sizes: Counter[tuple[int, int]] = Counter()
        self._modes: Counter[str] = Counter()
        self._bytes = 0
        self._seen: set[bytes] = set()
        self._again = 0
        self._damaged: list[str] = []
        self._damaged_count = 0
        self._kept: list[tuple[int, Tile | None]] = []
        self._random = generator(0, "contact_sheet")

    def add(self, content: bytes | Path, person: str | None, source: str) -> None:
        """Take in one image.

        Args:
            content: its bytes, or its file.
            person: whose it is.
            source: what to call it should it be damaged.
        """
        try:
            with open_image(content, source) as image:
                form, size, mode = str(image.format), image.size, image.mode
                if self._decode:
                    image.load()
            data = content.read_bytes() if isinstance(content, Path) else content
        except (UserError, OSError) as error:
            self.damage(str(error))
            return
        self.images += 1
        self._formats[form] += 1
        self._sizes[size] += 1
        self._modes[mode] += 1
        self._bytes += len(data)
        if person is not None:
            self.per_person[person] += 1
        digest = hashlib.blake2b(data, digest_size=8).digest()
        self._again += digest in self._seen
        self._seen.add(digest)
        if self._pictures:
            self._keep(person if person is not None else source, data)

    def damage(self, reason: str) -> None:
        """Note something that cannot be read."""
        self._damaged_count += 1
        if len(self._damaged) < _SHOWN:
            self._damaged.append(reason)

    def _keep(self, caption: str, data: bytes) -> None:
        """Keep a uniform sample of TILES images (Vitter 1985, algorithm R)."""
        if len(self._kept) < TILES:
            self._kept.append((self.images, _tile(caption, data)))
        elif (place := int(self._random.integers(self.images))) < TILES:
            self._kept[place] = (self.images, _tile(caption, data))

    def tiles(self) -> list[Tile]:
        """Return the kept images in the order in which they came."""
        return [tile for _, tile in sorted(self._kept, key=lambda kept: kept[0]) if tile is not None]

    def facts(self) -> dict[str, Any]:
        """Return everything that was counted, ready for JSON."""
        found: dict[str, Any] = {"images": self.images}
        if self.per_person:
            found |= people_facts(np.array(list(self.per_person.values())))
        found["formats"] = dict(self._formats.most_common())
        found["sizes (width x height)"] = _most({f"{w} x {h}": n for (w, h), n in self._sizes.most_common()})
        found["pixel types"] = dict(self._modes.most_common())
        found["mean bytes"] = round(self._bytes / self.images) if self.images else 0
        found["identical to an earlier one"] = self._again
        found["damaged"] = self._damaged_count
        if self._damaged:
            found["first damaged"] = self._damaged
        return found


def people_facts(counts: np.ndarray[Any, np.dtype[Any]]) -> dict[str, Any]:
    """Return number of people, images per person, and how many people have how many.

    Args:
        counts: images of each person.
    """
    histogram = {}
    for low, high in zip(_BOUNDS, (*_BOUNDS[1:], None), strict=True):
        number = int(np.sum((counts >= low) & (counts < (high or np.inf))))
        if number:
            last = "" if high is None else high - 1
            histogram[f"{low}" if last == low else f"{low}-{last}" if last else f"{low} or more"] = number
    return {
        "people": len(counts),
        "images per person": {
            "least": int(counts.min()),
            "median": float(np.median(counts)),
            "most": int(counts.max()),
        },
        "people by number of images": histogram,
    }


def _tile(caption: str, data: bytes) -> Tile | None:
    """Return an image reduced; None when only its header is whole."""
    with contextlib.suppress(UserError), open_image(data, caption) as image:
        return Tile(shrunk(image), caption)
    return None


def _most(counts: dict[str, int]) -> dict[str, int]:
    """Return the most frequent, and the sum of the others."""
    shown = dict(list(counts.items())[:_SHOWN])
    if others := sum(counts.values()) - sum(shown.values()):
        shown[f"{len(counts) - len(shown)} others"] = others
    return shown


def picture(pixels: np.ndarray[Any, np.dtype[np.uint8]]) -> Image.Image:
    """Return (C, H, W) uint8 with C = 1 or 3 as a picture."""
    return Image.fromarray(pixels[0] if len(pixels) == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0)))
