"""InsightFace's training set: ``train.rec``, ``train.idx`` and ``property`` in one folder.

Images have the keys 1 to N, identity by identity with increasing labels. C records without an image follow
at the keys N+1 to N+C, one per identity, with the labels [first key, last key + 1]. Key 0, physically last,
has the labels [N+1, N+C+1], no image and id2 = 1. So who owns which images is known from C + 1 small records.
A file whose record 0 is an image (``im2rec``, ``SeqRecBuilder``) is a plain sequence of images.

Source: insightface, ``recognition/arcface_mxnet/common/rec_builder.py`` and ``image_iter.py``.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Self

from fedpriv.errors import FormatError, UserError
from fedpriv.formats.files import atomic_output, read_input
from fedpriv.formats.image_record import (
    MAX_CLASS,
    ImageHeader,
    class_label,
    pack_image_record,
    unpack_image_record,
)
from fedpriv.formats.record_index import index_line
from fedpriv.formats.recordio import RecordReader
from fedpriv.formats.recordio_writer import RecordWriter

_PROPERTY_BYTES = 1024
_PROPERTY = re.compile(rb"\s*([0-9]{1,8})\s*,\s*([0-9]{1,8})\s*,\s*([0-9]{1,8})\s*")
_MAX_SIDE = 2**14


@dataclass(frozen=True)
class FaceRec:
    """Who owns which images of a ``.rec``.

    Attributes:
        path: the ``.rec``.
        index: key to offset of every record.
        image_keys: keys of the images: a range, or a tuple where the identities leave some out.
        identity_ranges: label to (first key, last key + 1), labels increasing; empty for a plain sequence.
        num_classes: from ``property``; None without that file.
        height: rows of every image, from ``property``.
        width: columns of every image, from ``property``.
    """

    path: Path
    index: Mapping[int, int]
    image_keys: Sequence[int]
    identity_ranges: dict[int, tuple[int, int]]
    num_classes: int | None = None
    height: int | None = None
    width: int | None = None

    @classmethod
    def open(cls, rec_path: Path | str, idx: Mapping[int, int] | None = None) -> Self:
        """Read record 0, the identities' records and ``property``.

        No image is read but the first of the first and of the last identity: where their labels are 0 and
        C - 1 the labels are 0 to C - 1 (they increase). Otherwise the first image of each identity is read.

        Args:
            rec_path: the ``.rec``; ``property`` lies beside it, if there is one.
            idx: what its ``.idx`` says; None scans the whole file for it.

        Raises:
            FormatError: a file is damaged; a range is no range of integers up to 2^24 (float32 is not exact
                beyond), overlaps another, or has keys that are not in the index; labels do not increase; or
                ``property`` has fewer classes than there are labels.
        """
        path = Path(rec_path)
        with RecordReader(path) as reader:
            index = scan_index(reader) if idx is None else idx
            if not index:
                raise FormatError(path, None, "holds no record")
            ranges = _read_identities(reader, index)
        classes, height, width = _read_property(path.with_name("property"))
        if classes is not None and ranges and max(ranges) >= classes:
            reason = f"{classes} classes, but {path.name} has label {max(ranges)}"
            raise FormatError(path.with_name("property"), None, reason)
        keys = _union(ranges.values()) if ranges else tuple(index)
        return cls(path, index, keys, ranges, classes, height, width)


def scan_index(reader: RecordReader) -> dict[int, int]:
    """Rebuild the index of a file without its ``.idx``: key = the id in the record's header.

    Raises:
        FormatError: the file is damaged, or two records have one id.
    """
    index: dict[int, int] = {}
    for record in reader:
        header, _ = unpack_image_record(record.payload, reader.path, record.offset)
        if header.id in index:
            reason = f"id {header.id} a second time, first at {index[header.id]}; an .idx is needed"
            raise FormatError(reader.path, record.offset, reason)
        index[header.id] = record.offset
    return index


def write_face_rec(
    folder: Path | str, identities: Iterable[tuple[int, Iterable[bytes]]], height: int, width: int
) -> None:
    """Write ``train.rec``, ``train.idx`` and ``property``, streaming; they appear when all are complete.

    Args:
        folder: is made if need be; files of those names are replaced.
        identities: (label, encoded images) of each identity, labels increasing, with an image at least.
        height: rows of every image.
        width: columns of every image.

    Raises:
        UserError: the folder cannot be written to.
        ValueError: labels do not increase from 0 or more, an identity or an image is empty, there is no
            identity, a size is out of range, or more than 2^24 records are needed.
    """
    if not (1 <= height <= _MAX_SIDE and 1 <= width <= _MAX_SIDE):
        raise ValueError(f"height={height}, width={width}: need 1 to {_MAX_SIDE}")
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: cannot be made ({error.strerror}); name another folder") from error
    with ExitStack() as stack:
        sizes = stack.enter_context(atomic_output(folder / "property"))
        lines = stack.enter_context(atomic_output(folder / "train.idx"))
        writer = stack.enter_context(RecordWriter(folder / "train.rec"))

        def add(header: ImageHeader, image: bytes = b"") -> None:
            if header.id > MAX_CLASS - 1:
                raise ValueError(f"more than {MAX_CLASS} records: float32 cannot number them")
            lines.write(index_line(header.id, writer.write(pack_image_record(header, image))))

        last, key = -1, 1
        ranges: list[tuple[int, int]] = []
        for label, images in identities:
            if not last < label <= MAX_CLASS:
                raise ValueError(f"label {label} after {last}: labels increase from 0 to {MAX_CLASS}")
            first, last = key, label
            for image in images:
                if not image:
                    raise ValueError(f"label {label}: an image is empty")
                add(ImageHeader(float(label), key), image)
                key += 1
            if key == first:
                raise ValueError(f"label {label}: no image")
            ranges.append((first, key))
        if not ranges:
            raise ValueError("no identity")
        for number, pair in enumerate(ranges, start=key):
            add(ImageHeader(pair, number))
        add(ImageHeader((key, key + len(ranges)), 0, 1))
        sizes.write(b"%d,%d,%d\n" % (last + 1, height, width))
        # a full disk shows before the first file gets its name
        lines.flush()
        sizes.flush()


def _read_identities(reader: RecordReader, index: Mapping[int, int]) -> dict[int, tuple[int, int]]:
    """Return label to range of keys; empty for a plain sequence of images."""
    if 0 not in index:
        return {}
    header, image = unpack_image_record(reader.read_at(index[0]), reader.path, index[0])
    if not isinstance(header.label, tuple) or len(header.label) < 2 or image:
        return {}
    begin, end = _range(reader, index[0], header.label)
    ranges: list[tuple[int, int]] = []
    following = 1
    for key in range(begin, end):
        offset = _offset(reader, index, key)
        header, image = unpack_image_record(reader.read_at(offset), reader.path, offset)
        if not isinstance(header.label, tuple) or image:
            raise FormatError(reader.path, offset, f"key {key} is no identity, but record 0 says so")
        first, stop = _range(reader, offset, header.label)
        if first < following or stop > begin:
            reason = f"images {first} to {stop - 1}: need keys from {following} to {begin - 1}"
            raise FormatError(reader.path, offset, reason)
        for image_key in range(first, stop):
            _offset(reader, index, image_key)
        ranges.append((first, stop))
        following = stop
    return dict(zip(_labels(reader, index, ranges), ranges, strict=True))


def _labels(reader: RecordReader, index: Mapping[int, int], ranges: list[tuple[int, int]]) -> Sequence[int]:
    """Return the identities' labels, which increase, reading as few images as possible."""
    count = len(ranges)

    def label(place: int) -> int:
        offset = index[ranges[place][0]]
        header, _ = unpack_image_record(reader.read_at(offset), reader.path, offset)
        return class_label(header, reader.path, offset)

    if label(0) == 0 and label(count - 1) == count - 1:
        return range(count)
    labels = [label(place) for place in range(count)]
    for place in range(1, count):
        if labels[place] <= labels[place - 1]:
            offset = index[ranges[place][0]]
            reason = f"label {labels[place]} after {labels[place - 1]}: labels of identities increase"
            raise FormatError(reader.path, offset, reason)
    return labels


def _range(reader: RecordReader, offset: int, labels: tuple[float, ...]) -> tuple[int, int]:
    if len(labels) != 2 or not all(1 <= value <= MAX_CLASS and value == int(value) for value in labels):
        shown = ", ".join(f"{value:g}" for value in labels[:4])
        reason = f"[{shown}] is no range of keys: need two integers from 1 to 2^24"
        raise FormatError(reader.path, offset, reason)
    first, stop = int(labels[0]), int(labels[1])
    if first >= stop:
        raise FormatError(reader.path, offset, f"range of keys from {first} to {stop} is empty")
    return first, stop


def _offset(reader: RecordReader, index: Mapping[int, int], key: int) -> int:
    if key not in index:
        raise FormatError(
            reader.path, None, f"key {key} is not in the index, but an identity or record 0 has it"
        )
    return index[key]


def _union(ranges: Iterable[tuple[int, int]]) -> Sequence[int]:
    pairs = list(ranges)
    whole = range(pairs[0][0], pairs[-1][1])
    if len(whole) == sum(stop - first for first, stop in pairs):
        return whole
    return tuple(chain.from_iterable(range(first, stop) for first, stop in pairs))


def _read_property(path: Path) -> tuple[int | None, int | None, int | None]:
    if not path.exists():
        return None, None, None
    match = _PROPERTY.fullmatch(read_input(path, _PROPERTY_BYTES))
    if match is None:
        raise FormatError(path, None, "need one line `classes,height,width` of three integers")
    classes, height, width = (int(value) for value in match.groups())
    if not (1 <= classes <= MAX_CLASS + 1 and 1 <= height <= _MAX_SIDE and 1 <= width <= _MAX_SIDE):
        reason = f"{classes} classes of {height} x {width}: need 1 to {MAX_CLASS + 1} and 1 to {_MAX_SIDE}"
        raise FormatError(path, None, reason)
    return classes, height, width
