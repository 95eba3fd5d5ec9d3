import numpy as np
import pytest

from fedpriv.data.dataset import ImageDataset
from fedpriv.data.partition.overview import MAX_KINDS, overview


def dataset(targets, subjects, **more):
    targets, subjects = np.array(targets), np.array(subjects, dtype=np.int64)
    names = tuple(f"p{number}" for number in range(subjects.max() + 1))
    return ImageDataset("d", np.zeros((len(subjects), 1, 1, 1), np.uint8), targets, subjects, names, **more)


def shares(*lists):
    return [np.array(share, dtype=np.int64) for share in lists]


def test_it_counts_images_people_and_classes_of_each_client():
    data = dataset([0, 2, 2, 0, 2], [0, 0, 1, 1, 1], class_names=("happy", "sad", "angry"))
    seen = overview(data, shares([0, 3], [1, 2, 4]))
    assert seen.kind == "class"
    assert seen.names == ("happy", "angry")
    assert seen.sizes.tolist() == [2, 3]
    assert seen.people.tolist() == [2, 2]
    assert seen.labels.tolist() == [1, 1]
    assert seen.counts.tolist() == [[2, 0], [0, 3]]
    assert seen.largest.tolist() == [1.0, 1.0]
    assert (seen.all_people, seen.all_labels) == (2, 2)
    # 25 / (4 + 9)
    assert seen.effective_clients == pytest.approx(25 / 13)


@pytest.mark.parametrize("targets", [np.zeros((4, 2), np.float32), [0, 0, 2, 2]])
def test_people_stand_in_where_targets_are_no_classes_or_are_the_people(targets):
    seen = overview(dataset(targets, [0, 0, 2, 2]), shares([0], [1, 2, 3]))
    assert seen.kind == "person"
    assert seen.names == ("p0", "p2")
    assert seen.counts.tolist() == [[1, 0], [1, 2]]
    assert seen.largest.tolist() == [1.0, 2 / 3]


def test_classes_without_names_are_numbered():
    assert overview(dataset([5, 7], [0, 0]), shares([0], [1])).names == ("5", "7")


def test_many_kinds_are_counted_and_not_told_apart():
    count = MAX_KINDS + 1
    seen = overview(dataset(np.arange(count), [0] * count), shares(range(3), range(3, count)))
    assert seen.names == ()
    assert seen.counts.shape == (2, 0)
    assert seen.labels.tolist() == [3, count - 3]
