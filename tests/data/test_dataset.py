"""The data set object: consistency, and what a subset keeps."""

import numpy as np
import pytest

from fedpriv.data.dataset import ImageDataset
from fedpriv.data.rows import ImageRows
from fedpriv.pairs import VerificationPairs


def dataset(**changes):
    fields = {
        "name": "tiny",
        "images": np.arange(6 * 4, dtype=np.uint8).reshape(6, 1, 2, 2),
        "targets": np.array([0, 1, 2, 0, 1, 2]),
        "subjects": np.array([0, 0, 1, 1, 2, 2]),
        "subject_names": ("a", "b", "c"),
        "class_names": ("x", "y", "z"),
        "held_out": np.array([False, False, False, False, True, True]),
        "pairs": VerificationPairs(np.array([0, 1]), np.array([2, 3]), np.array([True, False])),
    }
    return ImageDataset(**(fields | changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": np.zeros((6, 2, 2), np.uint8)}, "images: need uint8"),
        ({"images": np.zeros((6, 1, 2, 2), np.float32)}, "images: need uint8"),
        ({"targets": np.zeros(5, np.int64)}, "lengths differ"),
        ({"subjects": np.array([0, 0, 1, 1, 2, 3])}, "beyond subject_names"),
        ({"subjects": np.array([0, 0, 1, 1, 2, -1])}, "beyond subject_names"),
        ({"held_out": np.zeros(5, np.bool_)}, "held_out"),
        ({"held_out": np.zeros(6, np.int64)}, "held_out"),
        ({"targets": np.array([0, 1, 2, 3, 0, 0])}, "class beyond class_names"),
        ({"targets": np.array([0, 1, 2, -1, 0, 0])}, "class beyond class_names"),
        ({"targets": np.zeros((6, 2), np.float32)}, "no classes"),
        ({"pairs": VerificationPairs(np.array([6]), np.array([0]), np.array([True]))}, "pairs"),
    ],
)
def test_what_does_not_agree_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        dataset(**changes)


def test_a_subset_keeps_its_rows_names_and_split_and_drops_the_pairs():
    part = dataset().subset(np.array([5, 0]))
    assert part.images[:, 0, 0, 0].tolist() == [20, 0]
    assert part.targets.tolist() == [2, 0]
    assert part.held_out.tolist() == [True, False]
    assert part.class_names == ("x", "y", "z")
    assert part.pairs is None


def test_a_subset_of_a_memory_map_copies_no_image(tmp_path):
    np.save(tmp_path / "images.npy", dataset().images)
    mapped = dataset(images=np.load(tmp_path / "images.npy", mmap_mode="r"))
    part = mapped.subset(np.array([1, 3, 5])).subset(np.array([2, 0]))
    assert isinstance(part.images, ImageRows)
    np.testing.assert_array_equal(np.asarray(part.images), dataset().images[[5, 1]])
