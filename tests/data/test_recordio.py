"""Record files as a data set: who is who, which pixels, and the choices of a user."""

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fedpriv.data.identity_folder import load as load_folder
from fedpriv.data.recordio import load
from fedpriv.errors import UserError
from fedpriv.formats.face_rec import write_face_rec
from fedpriv.formats.image_record import ImageHeader, pack_image_record
from fedpriv.formats.record_index import read_index, write_index
from fedpriv.formats.recordio_writer import RecordWriter


def png(value: int, size: int = 16) -> bytes:
    saved = io.BytesIO()
    Image.fromarray(np.full((size, size, 3), value, np.uint8)).save(saved, "PNG")
    return saved.getvalue()


def plain(path: Path, labels: list[float | tuple[float, ...]]) -> dict[int, int]:
    """Write image n with grey value 10 n."""
    with RecordWriter(path) as writer:
        return {
            number: writer.write(pack_image_record(ImageHeader(label, number), png(10 * number)))
            for number, label in enumerate(labels)
        }


def values(dataset) -> list[int]:
    return [int(image[0, 4, 4]) for image in np.asarray(dataset.images)]


@pytest.mark.parametrize("indexed", [True, False])
def test_people_are_labels_and_images_lie_person_by_person(tmp_path, indexed):
    index = plain(tmp_path / "train.rec", [3.0, 1.0, (3.0, 9.0), 1.0, 7.0])
    if indexed:
        write_index(tmp_path / "train.idx", dict(reversed(index.items())))
    dataset = load(str(tmp_path), 8, 8)
    assert dataset.subject_names == ("00000001", "00000003")
    assert dataset.subjects.tolist() == [0, 0, 1, 1]
    assert values(dataset) == [10, 30, 0, 20]
    assert dataset.image_shape == (3, 8, 8)
    np.testing.assert_array_equal(dataset.targets, dataset.subjects)
    assert not np.shares_memory(dataset.targets, dataset.subjects)


def test_only_records_in_the_index_count(tmp_path):
    index = plain(tmp_path / "train.rec", [0.0, 0.0, 0.0, 1.0, 1.0])
    del index[1]
    write_index(tmp_path / "train.idx", index)
    assert values(load(str(tmp_path), 8, 8)) == [0, 20, 30, 40]


@pytest.mark.parametrize("indexed", [True, False])
def test_insightfaces_identities_with_and_without_their_index(tmp_path, indexed):
    write_face_rec(tmp_path, [(0, [png(1), png(2)]), (4, [png(3), png(4), png(5)]), (6, [png(6)])], 16, 16)
    if not indexed:
        (tmp_path / "train.idx").unlink()
    dataset = load(str(tmp_path), 8, 8, min_images=1)
    assert dataset.subject_names == ("00000000", "00000004", "00000006")
    assert dataset.subjects.tolist() == [0, 0, 1, 1, 1, 2]
    assert values(dataset) == [1, 2, 3, 4, 5, 6]
    assert load(str(tmp_path), 8, 8, max_people=2).subject_names == ("00000000", "00000004")


def test_an_image_of_somebody_else_inside_an_identitys_range_is_named(tmp_path):
    write_face_rec(tmp_path, [(0, [png(1), png(2)]), (1, [png(3), png(4), png(5)])], 16, 16)
    offset = read_index(tmp_path / "train.idx")[4]  # the second of identity 1, whose first names it
    rec = tmp_path / "train.rec"
    content = bytearray(rec.read_bytes())
    # behind the record's magic, length and the header's flag
    assert struct.unpack_from("<f", content, offset + 12) == (1.0,)
    struct.pack_into("<f", content, offset + 12, 9.0)
    rec.write_bytes(content)
    reason = rf"train\.rec: offset {offset}: an image of label 9 among those of identity 1"
    with pytest.raises(UserError, match=reason):
        load(str(tmp_path), 8, 8)


def test_a_file_that_changed_is_read_again(tmp_path):
    plain(tmp_path / "a.rec", [0.0, 0.0, 1.0, 1.0])
    assert values(load(str(tmp_path / "a.rec"), 8, 8, min_images=1)) == [0, 10, 20, 30]
    plain(tmp_path / "a.rec", [1.0, 0.0, 0.0, 1.0])
    assert values(load(str(tmp_path / "a.rec"), 8, 8, min_images=1)) == [10, 20, 0, 30]


def test_grey_has_one_channel(tmp_path):
    plain(tmp_path / "a.rec", [0.0, 0.0, 1.0, 1.0])
    assert load(str(tmp_path), 8, 8, colour=False).image_shape == (1, 8, 8)


def test_the_real_file_equals_what_extraction_and_a_folder_give(real_data, tmp_path):
    from data_tools.extract import extract

    rec = real_data / "recordio_faces" / "train.rec"
    extract(rec, tmp_path / "out")
    one, other = load(str(rec.parent), 40, 40), load_folder(str(tmp_path / "out"), 40, 40, colour=True)
    assert one.subject_names == other.subject_names
    assert one.subjects.tolist() == [0] * 4 + [1] * 4
    by_person = [
        sorted(image.tobytes() for image in np.asarray(data.images)[data.subjects == person])
        for data in (one, other)
        for person in (0, 1)
    ]
    assert by_person[:2] == by_person[2:]


def test_what_cannot_be_decoded_is_named_by_offset(tmp_path):
    with RecordWriter(tmp_path / "a.rec") as writer:
        for number in range(2):
            writer.write(pack_image_record(ImageHeader(0.0, number), png(1)))
        bad = writer.write(pack_image_record(ImageHeader(1.0, 2), b"\xff\xd8\xff no image"))
        writer.write(pack_image_record(ImageHeader(1.0, 3), png(1)))
    with pytest.raises(UserError, match=rf"a\.rec: offset {bad}: not a readable"):
        load(str(tmp_path), 8, 8)


def test_a_label_that_is_no_class_is_named(tmp_path):
    plain(tmp_path / "a.rec", [0.0, 0.0, 0.5, 1.0])
    with pytest.raises(UserError, match=r"label 0\.5 of image 2 is no class"):
        load(str(tmp_path), 8, 8)


def test_too_few_people_are_refused(tmp_path):
    plain(tmp_path / "a.rec", [0.0, 0.0, 1.0])
    with pytest.raises(UserError, match=r"data\.root=.*: 1 of 2 people have at least 2 images"):
        load(str(tmp_path), 8, 8)


def test_a_folder_with_several_files_asks_for_one(tmp_path):
    for name in ("a.rec", "b.rec"):
        plain(tmp_path / name, [0.0, 0.0, 1.0, 1.0])
    with pytest.raises(UserError, match=r"data\.root=.*: 2 \.rec files and no train\.rec; name one"):
        load(str(tmp_path), 8, 8)


@pytest.mark.parametrize("field", ["height", "width", "min_images", "max_people"])
def test_settings_out_of_range_are_named(tmp_path, field):
    with pytest.raises(UserError, match=rf"data\.{field}=0: must be at least"):
        load(str(tmp_path), **{field: 0})
