"""InsightFace's training files: the layout byte by byte, ranges read sparingly, and ranges that lie."""

import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedpriv.errors import FormatError, UserError
from fedpriv.formats.face_rec import FaceRec, scan_index, write_face_rec
from fedpriv.formats.image_record import ImageHeader, pack_image_record, unpack_image_record
from fedpriv.formats.record_index import read_index, write_index
from fedpriv.formats.recordio import RecordReader
from fedpriv.formats.recordio_writer import RecordWriter, encode_record

PEOPLE = [(0, [b"a0", b"a1"]), (1, [b"b0"]), (2, [b"c0", b"c1", b"c2"])]


def save(folder: Path, records: list[tuple[int, ImageHeader, bytes]], index: bool = True) -> FaceRec:
    """Write records under keys, without the writer under test, and open them."""
    offsets = {}
    with RecordWriter(folder / "train.rec") as writer:
        for key, header, image in records:
            offsets[key] = writer.write(pack_image_record(header, image))
    return FaceRec.open(folder / "train.rec", offsets if index else None)


def grouped(labels: dict[int, tuple[float, ...]], record0: tuple[float, ...], images: int = 3) -> list:
    """Images 1 to ``images`` with labels 0, 1, ..., identity records, and record 0 at the end."""
    records = [(key, ImageHeader(float(key - 1), key), b"x") for key in range(1, images + 1)]
    records += [(key, ImageHeader(label, key), b"") for key, label in labels.items()]
    return [*records, (0, ImageHeader(record0, 0, 1), b"")]


THREE = {4: (1.0, 2.0), 5: (2.0, 3.0), 6: (3.0, 4.0)}


def test_the_written_layout_is_recbuilders(tmp_path):
    """Derived by hand from the description of RecBuilder: keys, flags, labels, order in the file."""
    write_face_rec(tmp_path / "set", PEOPLE, 112, 96)

    def scalar(label: float, key: int, image: bytes) -> bytes:
        return struct.pack("<IfQQ", 0, label, key, 0) + image

    def pair(first: float, last: float, key: int, id2: int = 0) -> bytes:
        return struct.pack("<IfQQff", 2, 0, key, id2, first, last)

    payloads = {
        1: scalar(0, 1, b"a0"),
        2: scalar(0, 2, b"a1"),
        3: scalar(1, 3, b"b0"),
        4: scalar(2, 4, b"c0"),
        5: scalar(2, 5, b"c1"),
        6: scalar(2, 6, b"c2"),
        7: pair(1, 3, 7),
        8: pair(3, 4, 8),
        9: pair(4, 7, 9),
        0: pair(7, 10, 0, id2=1),
    }
    expected, lines = b"", ""
    for key, payload in payloads.items():
        lines += f"{key}\t{len(expected)}\n"
        expected += encode_record(payload)
    assert (tmp_path / "set" / "train.rec").read_bytes() == expected
    assert (tmp_path / "set" / "train.idx").read_text() == lines
    assert (tmp_path / "set" / "property").read_text() == "3,112,96\n"
    assert len(list((tmp_path / "set").iterdir())) == 3


@given(
    st.lists(
        st.tuples(st.integers(1, 5), st.lists(st.binary(min_size=1, max_size=9), min_size=1, max_size=4)),
        min_size=1,
        max_size=6,
    )
)
@settings(max_examples=40, deadline=None)
def test_what_is_written_is_read_with_and_without_an_index(tmp_path_factory, steps):
    label, people = -1, []
    for step, images in steps:
        label += step
        people.append((label, images))
    folder = tmp_path_factory.mktemp("faces")
    write_face_rec(folder, people, 112, 112)
    index = read_index(folder / "train.idx")
    rec = FaceRec.open(folder / "train.rec", index)
    assert rec == FaceRec.open(folder / "train.rec")
    assert (rec.num_classes, rec.height, rec.width) == (label + 1, 112, 112)
    assert list(rec.image_keys) == list(range(1, 1 + sum(len(images) for _, images in people)))
    assert list(rec.identity_ranges) == [label for label, _ in people]
    with RecordReader(rec.path) as reader:
        for label, images in people:
            keys = range(*rec.identity_ranges[label])
            found = [unpack_image_record(reader.read_at(rec.index[key])) for key in keys]
            assert [image for _, image in found] == images
            assert {header.label for header, _ in found} == {label}


def test_ranges_are_read_without_the_images_between(tmp_path):
    write_face_rec(tmp_path, [(label, [b"x" * 50] * 3) for label in range(5)], 112, 112)
    index = read_index(tmp_path / "train.idx")
    content = bytearray((tmp_path / "train.rec").read_bytes())
    for key in range(2, 13):  # all images but the first of the first and of the last identity
        content[index[key] : index[key] + 8] = b"damaged!"
    (tmp_path / "train.rec").write_bytes(content)
    rec = FaceRec.open(tmp_path / "train.rec", index)
    assert rec.identity_ranges == {label: (1 + 3 * label, 4 + 3 * label) for label in range(5)}


def test_labels_that_skip_numbers_are_the_images_own(tmp_path):
    records = grouped({4: (1.0, 3.0), 5: (3.0, 4.0)}, (4.0, 6.0))
    assert save(tmp_path, records).identity_ranges == {0: (1, 3), 2: (3, 4)}


def test_images_that_no_identity_has_are_left_out(tmp_path):
    rec = save(tmp_path, grouped({4: (1.0, 2.0), 5: (3.0, 4.0)}, (4.0, 6.0)))
    assert rec.image_keys == (1, 3)
    assert save(tmp_path, grouped(THREE, (4.0, 7.0))).image_keys == range(1, 4)


def test_several_labels_of_an_image_begin_with_its_identity(tmp_path):
    records = grouped({3: (1.0, 3.0)}, (3.0, 4.0), images=2)
    records[0] = (1, ImageHeader((9.0, 0.5), 1), b"x")
    assert save(tmp_path, records).identity_ranges == {9: (1, 3)}


def test_the_real_file_is_a_plain_sequence(real_data):
    path = real_data / "recordio_faces" / "train.rec"
    index = read_index(path.with_name("train.idx"))
    rec = FaceRec.open(path, index)
    assert rec.image_keys == tuple(index)
    assert rec.identity_ranges == {}
    assert (rec.num_classes, rec.height, rec.width) == (None, None, None)
    assert FaceRec.open(path) == rec


@pytest.mark.parametrize(
    "record0",
    [
        ImageHeader(3.0, 0),
        ImageHeader((3.0, 1.0), 0),  # im2rec --pack-label
        ImageHeader((3.0,), 0),
    ],
)
def test_an_image_under_key_0_makes_a_plain_sequence(tmp_path, record0):
    rec = save(tmp_path, [(0, record0, b"image"), (5, ImageHeader(1.0, 5), b"image")])
    assert rec.image_keys == (0, 5)
    assert rec.identity_ranges == {}


def test_a_sequence_without_key_0_is_plain(tmp_path):
    rec = save(tmp_path, [(2, ImageHeader(0.0, 2), b"x"), (1, ImageHeader(0.0, 1), b"x")])
    assert rec.image_keys == (2, 1)


@pytest.mark.parametrize(
    ("labels", "record0", "reason"),
    [
        (THREE, (4.0, 8.0), "key 7 is not in the index"),
        (THREE, (4.0, 2.0**24), "key 7 is not in the index"),
        (THREE, (4.0, 4.0), "range of keys from 4 to 4 is empty"),
        (THREE, (7.0, 4.0), "range of keys from 7 to 4 is empty"),
        (THREE, (-4.0, 7.0), "no range of keys"),
        (THREE, (0.0, 7.0), "no range of keys"),
        (THREE, (4.5, 7.0), "no range of keys"),
        (THREE, (4.0, 2.0**24 + 2), "no range of keys"),
        (THREE, (4.0, float("inf")), "no range of keys"),
        (THREE, (float("nan"), 7.0), "no range of keys"),
        (THREE, (4.0, 7.0, 9.0), "no range of keys"),
        (THREE, (3.0, 7.0), "key 3 is no identity"),
        ({4: (1.0, 99.0)}, (4.0, 5.0), "images 1 to 98: need keys from 1 to 3"),
        ({4: (1.0, 5.0)}, (4.0, 5.0), "images 1 to 4: need keys from 1 to 3"),
        ({4: (1.0, 3.0), 5: (2.0, 4.0)}, (4.0, 6.0), "images 2 to 3: need keys from 3 to 3"),
        ({4: (2.0, 3.0), 5: (1.0, 2.0)}, (4.0, 6.0), "images 1 to 1: need keys from 3 to 3"),
        ({4: (2.0, 2.0)}, (4.0, 5.0), "is empty"),
        ({4: (-1.0, 2.0)}, (4.0, 5.0), "no range of keys"),
        ({4: (1.0,)}, (4.0, 5.0), "no range of keys"),
        ({9: (1.0, 9.0)}, (9.0, 10.0), "key 4 is not in the index"),
    ],
)
def test_ranges_that_lie_are_refused(tmp_path, labels, record0, reason):
    with pytest.raises(FormatError) as caught:
        save(tmp_path, grouped(labels, record0))
    assert reason in caught.value.reason
    assert str(caught.value).startswith(str(tmp_path / "train.rec"))


def test_labels_that_do_not_increase_are_refused(tmp_path):
    records = grouped(THREE, (4.0, 7.0))
    records[1] = (2, ImageHeader(5.0, 2), b"x")
    records[2] = (3, ImageHeader(5.0, 3), b"x")
    with pytest.raises(FormatError, match="label 5 after 5"):
        save(tmp_path, records)


def test_an_index_that_points_elsewhere_is_refused(tmp_path):
    write_face_rec(tmp_path, PEOPLE, 112, 112)
    index = read_index(tmp_path / "train.idx")
    for wrong in ({**index, 0: 2**40}, {**index, 0: index[0] + 4}, {**index, 7: index[1]}):
        with pytest.raises(FormatError):
            FaceRec.open(tmp_path / "train.rec", wrong)


def test_an_index_is_rebuilt_from_the_ids(tmp_path):
    write_face_rec(tmp_path, PEOPLE, 112, 112)
    with RecordReader(tmp_path / "train.rec") as reader:
        index = scan_index(reader)
    write_index(tmp_path / "again.idx", index)
    assert (tmp_path / "again.idx").read_bytes() == (tmp_path / "train.idx").read_bytes()


def test_two_records_with_one_id_need_an_index(tmp_path):
    records = [(key, ImageHeader(0.0, 7), b"x") for key in (0, 1)]
    with pytest.raises(FormatError, match=r"id 7 a second time, first at 0; an \.idx is needed") as caught:
        save(tmp_path, records, index=False)
    assert caught.value.offset == 36
    assert save(tmp_path, records).image_keys == (0, 1)


def test_a_file_without_records_is_refused(tmp_path):
    with pytest.raises(FormatError, match="holds no record"):
        save(tmp_path, [])


@pytest.mark.parametrize("text", [b"3,112,112", b" 3 , 112 , 112 \r\n"])
def test_property_is_read(tmp_path, text):
    write_face_rec(tmp_path, PEOPLE, 1, 1)
    (tmp_path / "property").write_bytes(text)
    rec = FaceRec.open(tmp_path / "train.rec")
    assert (rec.num_classes, rec.height, rec.width) == (3, 112, 112)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "three integers"),
        (b"3,112", "three integers"),
        (b"3,112,112,3", "three integers"),
        (b"3,-112,112", "three integers"),
        (b"999999999999,1,1", "three integers"),
        (b"3,112,112\n3,112,112", "three integers"),
        (b"3,0,112", "3 classes of 0 x 112"),
        (b"3,112,99999", "3 classes of 112 x 99999"),
        (b"0,112,112", "0 classes"),
        (b"2,112,112", "2 classes, but train.rec has label 2"),
        (b"3,112,112" + b" " * 2000, "the limit is 1024"),
    ],
)
def test_a_property_that_lies_is_refused(tmp_path, text, reason):
    write_face_rec(tmp_path, PEOPLE, 1, 1)
    (tmp_path / "property").write_bytes(text)
    with pytest.raises(FormatError) as caught:
        FaceRec.open(tmp_path / "train.rec")
    assert caught.value.source == tmp_path / "property"
    assert reason in caught.value.reason


@pytest.mark.parametrize(
    ("people", "reason"),
    [
        ([], "no identity"),
        ([(0, [b"x"]), (0, [b"x"])], "label 0 after 0"),
        ([(2, [b"x"]), (1, [b"x"])], "label 1 after 2"),
        ([(-1, [b"x"])], "label -1"),
        ([(2**24 + 1, [b"x"])], "label 16777217"),
        ([(0, [])], "no image"),
        ([(0, [b"x", b""])], "empty"),
    ],
)
def test_what_could_not_be_read_is_not_written(tmp_path, people, reason):
    write_face_rec(tmp_path, PEOPLE, 112, 112)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(ValueError, match=reason):
        write_face_rec(tmp_path, people, 112, 112)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_more_records_than_float32_can_number_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("fedpriv.formats.face_rec.MAX_CLASS", 6)
    with pytest.raises(ValueError, match="float32 cannot number them"):
        write_face_rec(tmp_path, PEOPLE, 112, 112)
    assert not list(tmp_path.iterdir())


def test_sizes_and_folders_are_checked(tmp_path):
    with pytest.raises(ValueError, match="height=0"):
        write_face_rec(tmp_path, PEOPLE, 0, 112)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be made"):
        write_face_rec(tmp_path / "file", PEOPLE, 112, 112)
