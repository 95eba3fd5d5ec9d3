"""Image headers against bytes that MXNet packed, and lying ones."""

import json
import math
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedpriv.errors import FormatError
from fedpriv.formats.image_record import (
    MAX_LABELS,
    ImageHeader,
    class_label,
    pack_image_record,
    unpack_image_record,
)
from fedpriv.formats.recordio import RecordReader

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "recordio.json").read_text())["image_records"]

floats = st.floats(width=32, allow_nan=False)
ids = st.integers(0, 2**64 - 1)


@pytest.mark.parametrize("vector", GOLDEN, ids=lambda vector: str(vector["label"]))
def test_bytes_are_mxnets_in_both_directions(vector):
    label = tuple(vector["label"]) if isinstance(vector["label"], list) else vector["label"]
    header, image = ImageHeader(label, vector["id"], vector["id2"]), bytes.fromhex(vector["image"])
    payload = bytes.fromhex(vector["payload"])
    assert pack_image_record(header, image) == payload
    assert unpack_image_record(payload) == (header, image)


@given(
    st.one_of(floats, st.lists(floats, min_size=1, max_size=5).map(tuple)), ids, ids, st.binary(max_size=50)
)
@settings(deadline=None)
def test_what_is_packed_is_unpacked(label, number, number2, image):
    header = ImageHeader(label, number, number2)
    assert unpack_image_record(pack_image_record(header, image)) == (header, image)


def test_the_real_headers_have_the_labels_and_numbers_of_the_list(real_data):
    folder = real_data / "recordio_faces"
    lines = [line.split("\t") for line in (folder / "train.lst").read_text().splitlines()]
    with RecordReader(folder / "train.rec") as reader:
        unpacked = [unpack_image_record(record.payload) for record in reader]
    assert [(header.id, class_label(header)) for header, _ in unpacked] == [
        (int(number), int(label)) for number, label, _ in lines
    ]
    assert all(image.startswith(b"\xff\xd8\xff") and image.endswith(b"\xff\xd9") for _, image in unpacked)


def test_the_first_of_several_labels_is_the_class():
    assert ImageHeader((5.0, 9.5), 0).first_label == 5.0
    assert class_label(ImageHeader((5.0, 9.5), 0)) == 5
    assert class_label(ImageHeader(0.0, 0)) == 0


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "needs 24 bytes, the record has 0"),
        (bytes(23), "needs 24 bytes, the record has 23"),
        (struct.pack("<IfQQ", 3, 0, 0, 0) + bytes(11), "3 labels announced, the record has 11 bytes"),
        (struct.pack("<IfQQ", 2**32 - 1, 0, 0, 0), "4294967295 labels announced, the limit is 65536"),
        (struct.pack("<IfQQ", MAX_LABELS + 1, 0, 0, 0) + bytes(4 * MAX_LABELS + 4), "the limit is 65536"),
    ],
)
def test_a_lying_header_is_refused_with_its_place(payload, reason):
    with pytest.raises(FormatError) as caught:
        unpack_image_record(payload, "train.rec", 48)
    assert str(caught.value).startswith("train.rec: offset 48: ")
    assert reason in caught.value.reason


def test_as_many_labels_as_allowed_are_read():
    header = ImageHeader((1.0,) * MAX_LABELS, 1)
    assert unpack_image_record(pack_image_record(header, b"x")) == (header, b"x")


@pytest.mark.parametrize(
    ("label", "reason"),
    [
        (math.nan, "not finite"),
        (math.inf, "not finite"),
        (-math.inf, "not finite"),
        (-1.0, "negative"),
        (0.5, "no integer"),
        (2.0**24 + 2, "above 2^24"),
        (2.0**100, "above 2^24"),
    ],
)
def test_labels_that_are_no_class_are_read_but_refused_as_class(label, reason):
    packed = pack_image_record(ImageHeader(label, 7), b"")
    header, _ = unpack_image_record(packed)
    assert np.array_equal(header.first_label, label, equal_nan=True)
    with pytest.raises(FormatError, match=r"train.rec: offset 4: label .* of image 7") as caught:
        class_label(header, "train.rec", 4)
    assert caught.value.reason.endswith(reason) or reason in caught.value.reason


def test_the_largest_class_is_where_float32_stops_being_exact():
    assert class_label(ImageHeader(2.0**24, 0)) == 2**24
    assert int(np.float32(2**24 + 1)) == 2**24


@pytest.mark.parametrize(
    "header",
    [
        ImageHeader((), 0),
        ImageHeader((0.0,) * (MAX_LABELS + 1), 0),
        ImageHeader(1e39, 0),
        ImageHeader((1e39,), 0),
        ImageHeader(0.0, -1),
        ImageHeader(0.0, 2**64),
        ImageHeader(0.0, 0, 2**64),
    ],
)
def test_what_does_not_fit_is_not_packed(header):
    with pytest.raises(ValueError, match="labels"):
        pack_image_record(header, b"")
