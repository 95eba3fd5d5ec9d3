"""The payload of an image's record: label and number before the encoded image, as MXNet packs it.

``struct "<IfQQ"``, 24 bytes: u32 flag, f32 label, u64 id, u64 id2. With flag 0 the label is the f32; with
flag n > 0 the f32 is 0 and n more f32 follow the header. Then come the bytes of the image (JPEG or PNG).

Source: mxnet, ``python/mxnet/recordio.py`` (``pack``, ``unpack``) and ``src/io/image_recordio.h``.
"""

import math
import struct
from dataclasses import dataclass

from fedpriv.errors import FormatError

MAX_LABELS = 2**16
"""More labels than this are refused: they would need eight times the memory of the file."""
MAX_CLASS = 2**24
"""The largest integer up to which every integer is exact as float32."""
_HEADER = struct.Struct("<IfQQ")


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """What stands before the image.

    Attributes:
        label: one number, or a tuple of them; float32 in the file.
        id: number of the image, 0 to 2^64 - 1.
        id2: 0 in ordinary files.
    """

    label: float | tuple[float, ...]
    id: int
    id2: int = 0

    @property
    def first_label(self) -> float:
        """The label, or the first of several."""
        return self.label[0] if isinstance(self.label, tuple) else self.label


def pack_image_record(header: ImageHeader, image: bytes) -> bytes:
    """Return the payload of a record.

    Raises:
        ValueError: a label is too large for float32, there is none or more than ``MAX_LABELS``, or an id is
            not between 0 and 2^64 - 1.
    """
    labels = header.label if isinstance(header.label, tuple) else ()
    if isinstance(header.label, tuple) and not 1 <= len(labels) <= MAX_LABELS:
        raise ValueError(f"{len(labels)} labels: need 1 to {MAX_LABELS}")
    try:
        first = 0.0 if labels else header.first_label
        head = _HEADER.pack(len(labels), first, header.id, header.id2)
        return head + struct.pack(f"<{len(labels)}f", *labels) + image
    except (struct.error, OverflowError) as error:
        raise ValueError(f"{header}: labels are float32, ids 0 to 2^64 - 1 ({error})") from error


def unpack_image_record(
    payload: bytes, source: object = "image record", offset: int | None = None
) -> tuple[ImageHeader, bytes]:
    """Return the header in a record's payload and the bytes of its image.

    Labels are returned as they are, NaN and infinity included; :func:`class_label` checks them.

    Args:
        payload: what a record holds.
        source: the file, for error messages.
        offset: where in it the record begins, for error messages.

    Raises:
        FormatError: the payload is shorter than its header says, or has more than ``MAX_LABELS`` labels.
    """
    if len(payload) < _HEADER.size:
        reason = f"an image header needs {_HEADER.size} bytes, the record has {len(payload)}"
        raise FormatError(source, offset, reason)
    count, label, number, number2 = _HEADER.unpack_from(payload)
    if not count:
        return ImageHeader(label, number, number2), payload[_HEADER.size :]
    end = _HEADER.size + 4 * count
    if count > MAX_LABELS:
        raise FormatError(source, offset, f"{count} labels announced, the limit is {MAX_LABELS}")
    if end > len(payload):
        left = len(payload) - _HEADER.size
        raise FormatError(source, offset, f"{count} labels announced, the record has {left} bytes for them")
    labels = struct.unpack_from(f"<{count}f", payload, _HEADER.size)
    return ImageHeader(labels, number, number2), payload[end:]


def class_label(header: ImageHeader, source: object = "image record", offset: int | None = None) -> int:
    """Return the (first) label as the index of a class.

    Args:
        header: the header of an image.
        source: the file, for error messages.
        offset: where in it the record begins, for error messages.

    Raises:
        FormatError: the label is not finite, negative, no integer, or larger than ``MAX_CLASS``.
    """
    label = header.first_label
    if not math.isfinite(label):
        reason = "is not finite"
    elif label < 0:
        reason = "is negative"
    elif label != int(label):
        reason = "is no integer"
    elif label > MAX_CLASS:
        reason = "is above 2^24, where float32 skips integers"
    else:
        return int(label)
    raise FormatError(source, offset, f"label {label:g} of image {header.id} is no class: it {reason}")
