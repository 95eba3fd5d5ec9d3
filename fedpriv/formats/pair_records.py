"""Verification pairs in RecordIO: what ``lfw.bin`` holds, without a pickle.

Record k of the 2 P is image k, with id k and the label 1 where the pair k // 2 shows one person, 0 where it
does not. Any reader of image records reads it.
"""

from collections.abc import Sequence
from pathlib import Path

from fedpriv.errors import FormatError
from fedpriv.formats.image_record import ImageHeader, pack_image_record, unpack_image_record
from fedpriv.formats.recordio import RecordReader
from fedpriv.formats.recordio_writer import RecordWriter

MAX_BYTES = 2**29


def read_pair_records(path: Path | str) -> tuple[list[bytes], list[bool]]:
    """Return 2 P images, pair k being images 2k and 2k + 1, and P booleans.

    Raises:
        FormatError: the file is missing, damaged, longer than ``MAX_BYTES``, or holds no such pairs.
    """
    images: list[bytes] = []
    same: list[bool] = []
    with RecordReader(path) as reader:
        if reader.size > MAX_BYTES:
            raise FormatError(reader.path, None, f"{reader.size} bytes, the limit is {MAX_BYTES}")
        for record in reader:
            header, image = unpack_image_record(record.payload, reader.path, record.offset)
            number = len(images)
            fits = header.id == number and header.label in (0.0, 1.0)
            if not fits or (number % 2 and same[-1] != bool(header.label)):
                raise FormatError(reader.path, record.offset, f"is not image {number} of pairs")
            images.append(image)
            if number % 2 == 0:
                same.append(bool(header.label))
        if len(images) % 2 or not images:
            raise FormatError(reader.path, None, f"{len(images)} images make no pairs")
    return images, same


def write_pair_records(path: Path | str, images: Sequence[bytes], same: Sequence[bool]) -> None:
    """Write pairs; the file appears when it is complete.

    Raises:
        UserError: the file cannot be written.
        ValueError: there are not 2 images for each of at least one pair.
    """
    if not same or len(images) != 2 * len(same):
        raise ValueError(f"{len(images)} images for {len(same)} pairs: need 2 for each, and a pair at least")
    with RecordWriter(path) as writer:
        for number, image in enumerate(images):
            writer.write(pack_image_record(ImageHeader(float(same[number // 2]), number), image))
