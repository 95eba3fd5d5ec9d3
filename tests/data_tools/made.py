"""Small record files made for these tests."""

import io
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from fedpriv.formats.image_record import ImageHeader, pack_image_record
from fedpriv.formats.record_index import write_index
from fedpriv.formats.recordio_writer import RecordWriter


def encoded(value: int, kind: str = "JPEG", size: int = 16) -> bytes:
    """Return an image whose grey value says which it is."""
    saved = io.BytesIO()
    Image.fromarray(np.full((size, size, 3), value % 256, np.uint8)).save(saved, kind)
    return saved.getvalue()


def numbered(number: int) -> bytes:
    """Return one of any number of different files that begin and end like a JPEG."""
    return b"\xff\xd8\xff" + f"image {number} ".encode() * (1 + number % 7) + b"\xff\xd9"


def record_file(path: Path, records: Iterable[tuple[ImageHeader, bytes]]) -> dict[int, int]:
    """Write ``path`` and its .idx (key = id); returns the index."""
    index = {}
    with RecordWriter(path) as writer:
        for header, image in records:
            index[header.id] = writer.write(pack_image_record(header, image))
    write_index(path.with_suffix(".idx"), index)
    return index


def people_file(path: Path, images: int, people: int = 5) -> dict[int, int]:
    """Write ``images`` images of ``people`` people in turn."""
    return record_file(
        path, ((ImageHeader(float(number % people), number), numbered(number)) for number in range(images))
    )


def tree(folder: Path) -> dict[str, bytes]:
    """Return every file below ``folder``, hidden ones too."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() or path.is_symlink()
    }
