"""The same photograph is the same example of the ledger at any size, crop and colour, and from any file."""

import hashlib

import numpy as np
import pytest

from fedpriv.data import identity_folder, orl, raf_db, recordio
from fedpriv.data.origins import of_contents, of_files
from fedpriv.errors import UserError
from fedpriv.formats.image_record import ImageHeader, pack_image_record
from fedpriv.formats.raf_db import write_raf_db
from fedpriv.formats.recordio_writer import RecordWriter
from fedpriv.training.data import examples_of
from tests.data.test_dataset import dataset
from tests.data.test_recordio import png


def pictures(folder):
    """Two people of two pictures, as files."""
    for number in range(4):
        path = folder / f"{number // 2}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(10 * number, 24))
    return folder


def test_it_is_the_documented_digest_of_the_bytes(tmp_path):
    contents = [b"", b"\x00" * 100_000]
    paths = [tmp_path / "a", tmp_path / "b"]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    expected = [
        int.from_bytes(hashlib.sha256(b"fedpriv origin 1\0" + content).digest()[:8], "little")
        for content in contents
    ]
    assert of_contents(contents, 2).tolist() == of_files("two", paths).tolist() == expected


def test_a_file_that_changed_is_another_photograph_and_a_missing_one_is_one_line(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"one")
    before = of_files("one", [path]).tolist()
    path.write_bytes(b"other")
    assert of_files("one", [path]).tolist() != before
    path.unlink()
    path.symlink_to("/dev/zero")
    with pytest.raises(UserError, match="no regular file"):
        of_files("one", [path])


def test_one_folder_at_two_sizes_is_one_set_of_examples(tmp_path):
    root = str(pictures(tmp_path))
    small, large = (
        identity_folder.load(root, 8, 8),
        identity_folder.load(root, 16, 12, colour=True),
    )
    assert examples_of(small).identity == examples_of(large).identity
    assert len(examples_of(small).distinct) == 4
    part = small.subset(np.array([3, 0]))
    assert part.origins.tolist() == [small.origins[3], small.origins[0]]
    assert set(examples_of(part).distinct) < set(examples_of(large).distinct)


def test_a_photograph_in_a_record_is_the_one_in_the_file(tmp_path):
    pictures(tmp_path / "folder")
    with RecordWriter(tmp_path / "train.rec") as writer:
        for number in range(4):
            writer.write(pack_image_record(ImageHeader(float(number // 2), number), png(10 * number, 24)))
    folder = identity_folder.load(str(tmp_path / "folder"), 8, 8)
    record = recordio.load(str(tmp_path), 20, 20)
    assert record.origins.tolist() == folder.origins.tolist()
    # those of the people who are chosen, in their order
    more = recordio.load(str(tmp_path), 20, 20, max_people=2)
    assert more.origins.tolist() == record.origins.tolist()


def test_eyes_and_faces_of_one_picture_are_one_example(tmp_path):
    write_raf_db(
        tmp_path,
        [np.full((3, 100, 100), level, np.uint8) for level in range(10, 80, 10)],
        [1, 2, 3, 4, 5, 6, 7],
        [False] * 5 + [True] * 2,
    )
    face, eye = raf_db.load(str(tmp_path)), raf_db.load(str(tmp_path), region="eye")
    assert face.image_shape != eye.image_shape
    assert examples_of(face).identity == examples_of(eye).identity
    assert len(face.origins) == 7


def test_real_faces_at_two_sizes_and_by_two_loaders_add_up(real_data):
    root = str(real_data / "orl_faces")
    sets = [
        examples_of(orl.load(root, 28, 23)),
        examples_of(orl.load(root)),
        examples_of(identity_folder.load(root, 16, 16)),
    ]
    assert len({each.identity for each in sets}) == 1
    assert len(sets[0].distinct) == 400


def test_without_origins_pixels_tell_examples_apart():
    one, other = dataset(), dataset(images=np.arange(24, dtype=np.uint8).reshape(6, 1, 2, 2) + np.uint8(1))
    assert examples_of(one).identity != examples_of(other).identity
    origins = np.arange(6, dtype=np.uint64)
    assert examples_of(dataset(origins=origins)).digests.tolist() == origins.tolist()


@pytest.mark.parametrize(
    "origins", [np.zeros(5, np.uint64), np.zeros(6, np.int64), np.zeros((6, 1), np.uint64)]
)
def test_origins_that_do_not_fit_are_refused(origins):
    with pytest.raises(ValueError, match="origins"):
        dataset(origins=origins)
