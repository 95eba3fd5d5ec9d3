"""The data set mpiigaze: its lists, its mirrored right eyes, its people, and what a user gets wrong."""

import numpy as np
import pytest

from fedpriv.config.compose import compose_run
from fedpriv.data.holdout import one_person
from fedpriv.data.mpiigaze import load
from fedpriv.errors import UserError
from fedpriv.formats.mpiigaze import NORMALIZED, SAMPLE_LISTS, Day, Eyes, Sample, write_day, write_samples
from fedpriv.metrics.angular import vector_from_pitch_yaw

LEFT, RIGHT = (-1.0, 0.0, -1.0), (1.0, 0.0, -1.0)


def eyes(pixels: list[int], direction: tuple[float, float, float]) -> Eyes:
    """Pictures whose left column has the grey value given, all else black."""
    images = np.zeros((len(pixels), 36, 60), dtype=np.uint8)
    images[:, :, 0] = np.array(pixels)[:, None]
    gaze = np.tile(np.array(direction) / np.sqrt(2), (len(pixels), 1))
    return Eyes(images, gaze, np.zeros((len(pixels), 3)))


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("FEDPRIV_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "MPIIGaze"
    for person in (0, 1, 2):
        for day in (1, 2):
            first = 100 * person + 20 * day
            content = Day(
                ("0001.jpg", "0002.jpg", "0003.jpg"),
                eyes([first, first + 1, first + 2], LEFT),
                eyes([first + 10, first + 11, first + 12], LEFT),
            )
            write_day(root / NORMALIZED / f"p{person:02d}" / f"day{day:02d}.mat", content)
        samples = (
            Sample("day02", "0003.jpg", "left"),
            Sample("day01", "0001.jpg", "right"),
            Sample("day01", "0002.jpg", "left"),
        )
        write_samples(root / SAMPLE_LISTS / f"p{person:02d}.txt", samples)
    return root


def greys(dataset) -> list[int]:
    return np.asarray(dataset.images).max(axis=(1, 2, 3)).tolist()


def test_the_evaluation_subset_is_what_the_lists_name_in_their_order(root):
    dataset = load(str(root))
    assert dataset.image_shape == (1, 36, 60)
    assert greys(dataset) == [42, 30, 21, 142, 130, 121, 242, 230, 221]
    assert dataset.subjects.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert dataset.subject_names == ("p00", "p01", "p02")
    assert dataset.targets.dtype == np.float32


def test_right_eyes_are_mirrored_with_their_gaze(root):
    dataset = load(str(root))
    left, right = dataset.images[0, 0], dataset.images[1, 0]
    assert left[:, 0].all()
    assert not left[:, 1:].any()
    assert right[:, -1].all()
    assert not right[:, :-1].any()
    # both eyes looked to the picture's left; mirrored, the right one looks to the right
    np.testing.assert_allclose(vector_from_pitch_yaw(dataset.targets[0]) * np.sqrt(2), LEFT, atol=1e-6)
    np.testing.assert_allclose(vector_from_pitch_yaw(dataset.targets[1]) * np.sqrt(2), RIGHT, atol=1e-6)


def test_all_is_every_eye_of_every_day(root):
    dataset = load(str(root), subset="all")
    assert greys(dataset)[:12] == [20, 21, 22, 30, 31, 32, 40, 41, 42, 50, 51, 52]
    assert len(dataset) == 3 * 12
    assert load(str(root), subset="all", max_people=1, max_images=4).targets.shape == (4, 2)


def test_limits_keep_the_first_people_and_spread_images(root):
    dataset = load(str(root), max_people=2, max_images=2)
    assert greys(dataset) == [42, 30, 142, 130]
    assert dataset.subject_names == ("p00", "p01")


def test_leaving_one_person_out_is_the_published_protocol(root):
    training, test = one_person(load(str(root)), 1)
    assert [test.subject_names[index] for index in np.unique(test.subjects)] == ["p01"]
    assert 1 not in training.subjects


def test_a_changed_file_is_read_anew(root):
    load(str(root))
    write_samples(root / SAMPLE_LISTS / "p00.txt", (Sample("day01", "0003.jpg", "left"),))
    assert greys(load(str(root)))[:2] == [22, 142]


def test_the_yaml_loads_it(root):
    from fedpriv.config.instantiate import instantiate

    run = compose_run("task=gaze", "data=mpiigaze", f"data.root={root}")
    assert len(instantiate("data", run.data)) == 9


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (Sample("day09", "0001.jpg", "left"), "names day09, but there is no p00/day09.mat"),
        (Sample("day01", "0009.jpg", "left"), "names day01/0009.jpg, not in"),
    ],
)
def test_a_list_that_names_what_is_not_there_is_refused(root, line, reason):
    write_samples(root / SAMPLE_LISTS / "p00.txt", (line,))
    with pytest.raises(UserError, match=rf"p00\.txt: {reason}"):
        load(str(root))


def test_what_a_user_gets_wrong_is_named(root, tmp_path):
    with pytest.raises(UserError, match=r"data\.subset=test: choose evaluation or all"):
        load(str(root), subset="test")
    with pytest.raises(UserError, match=r"data\.max_people=0: must be at least 1"):
        load(str(root), max_people=0)
    with pytest.raises(UserError, match=r"data\.root=.*: has no 'Data/Normalized'; data\.root must hold"):
        load(str(tmp_path))
    (root / SAMPLE_LISTS / "p01.txt").unlink()
    with pytest.raises(UserError, match=r"has no 'Evaluation Subset/sample list for eye image/p01\.txt'"):
        load(str(root))
    assert len(load(str(root), subset="all")) == 36
