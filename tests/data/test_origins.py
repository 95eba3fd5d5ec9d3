"""The same photograph is the same example of the ledger at any size, crop and colour, and from any file."""

import hashlib
import struct

import numpy as np
import pytest

from fedpriv.data import identity_folder, orl, raf_db, recordio, synthetic_expressions, synthetic_faces
from fedpriv.data.origins import of_bytes, of_pixels, of_rendered, second
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


def head(content):
    return int.from_bytes(hashlib.sha256(content).digest()[:8], "little")


@pytest.mark.parametrize("content", [b"", b"\x00" * 100_000])
def test_a_file_is_known_by_the_documented_digest_of_its_bytes(content):
    assert of_bytes(content) == of_bytes(memoryview(content)) == head(b"fedpriv origin 1\0" + content)


def test_an_array_is_known_by_the_documented_digest_of_its_shape_and_pixels():
    image = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    stated = b"fedpriv origin 1 pixels\0" + struct.pack("<4I", 3, 2, 4, 3)
    assert of_pixels(image) == head(stated + bytes(range(24)))
    # what a view of it holds counts, not how that lies in memory
    assert of_pixels(np.asfortranarray(image)) == of_pixels(image)
    others = [image.reshape(4, 2, 3), image.reshape(8, 3), image[:, ::-1], image + np.uint8(1)]
    assert len({of_pixels(other) for other in [image, *others]}) == 5
    with pytest.raises(ValueError, match="need uint8, got float64"):
        of_pixels(image / 255)


def test_a_rendered_picture_is_known_by_its_recipe():
    assert of_rendered("eyes", 3, 7, 2, 2).tolist() == [
        head(b"fedpriv origin 1 rendered\0eyes 3 7 2 0"),
        head(b"fedpriv origin 1 rendered\0eyes 3 7 2 1"),
    ]
    recipes = [("eyes", 3, 7, 2), ("faces", 3, 7, 2), ("eyes", 4, 7, 2), ("eyes", 3, 8, 2), ("eyes", 3, 7, 1)]
    assert len({int(origin) for recipe in recipes for origin in of_rendered(*recipe, 3)}) == 15


def test_a_second_image_of_a_photograph_is_another_example_of_its_own():
    origins = np.array([0, 1, 2**64 - 1], np.uint64)
    assert len({*origins.tolist(), *second(origins).tolist()}) == 6


def test_a_file_that_changed_is_another_photograph(tmp_path):
    root = pictures(tmp_path)
    before = identity_folder.load(str(root), 8, 8).origins
    (root / "1" / "2.png").write_bytes(png(99, 24))
    after = identity_folder.load(str(root), 8, 8).origins
    assert (before != after).tolist() == [False, False, True, False]


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


def test_rendered_pictures_are_themselves_at_any_size_region_and_number():
    small, large = (
        synthetic_faces.load(people=people, images_per_person=3, size=size, seed=4)
        for people, size in ((2, 16), (3, 24))
    )
    assert small.origins.tolist() == large.origins[:6].tolist()
    face, eye, noisy = (
        synthetic_expressions.load(people=2, images_per_person=2, seed=4, **settings)
        for settings in ({}, {"region": "eye"}, {"label_noise": 1.0})
    )
    assert face.origins.tolist() == eye.origins.tolist() == noisy.origins.tolist()
    longer = synthetic_expressions.load(people=2, images_per_person=3, seed=4)
    assert longer.origins[[0, 1, 3, 4]].tolist() == face.origins.tolist()
    other = synthetic_expressions.load(people=2, images_per_person=2, seed=5)
    together = np.concatenate([large.origins, longer.origins, other.origins])
    assert len(np.unique(together)) == 9 + 6 + 4


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


def test_an_image_that_shows_two_examples_counts_as_both():
    both = dataset(origins=np.array([[5, 3], [1, 9], [0, 2], [4, 6], [8, 7], [11, 10]], np.uint64))
    assert examples_of(both).digests.tolist() == list(range(12))
    assert examples_of(both.subset(np.array([1, 0]))).digests.tolist() == [1, 3, 5, 9]


@pytest.mark.parametrize(
    "origins", [np.zeros(5, np.uint64), np.zeros(6, np.int64), np.zeros((5, 2), np.uint64), np.uint64(6)]
)
def test_origins_that_do_not_fit_are_refused(origins):
    with pytest.raises(ValueError, match="origins"):
        dataset(origins=origins)
