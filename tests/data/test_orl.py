"""ORL: forty people of ten, or a word about what is missing."""

import shutil

import numpy as np
import pytest
from PIL import Image

from fedpriv.data.identity_folder import load as load_folder
from fedpriv.data.orl import load
from fedpriv.errors import UserError


@pytest.fixture
def orl(tmp_path):
    for person in range(1, 41):
        (tmp_path / f"s{person}").mkdir()
        for number in range(1, 11):
            content = b"P5\n92 112\n255\n" + bytes([5 * person + number]) * (92 * 112)
            (tmp_path / f"s{person}" / f"{number}.pgm").write_bytes(content)
    (tmp_path / "README").write_text("The ORL faces")
    return tmp_path


def test_people_and_images_are_in_their_order(orl):
    dataset = load(str(orl), 16, 8)
    assert dataset.images.shape == (400, 1, 16, 8)
    assert dataset.subject_names[:3] == ("s1", "s2", "s3")
    assert np.asarray(dataset.images)[:, 0, 3, 3].tolist() == [
        5 * person + number for person in range(1, 41) for number in range(1, 11)
    ]
    assert dataset.subjects.tolist() == [person for person in range(40) for _ in range(10)]


def test_the_real_faces_equal_those_of_a_folder_of_people(real_data):
    one, other = load(str(real_data / "orl_faces")), load_folder(str(real_data / "orl_faces"))
    np.testing.assert_array_equal(one.images, other.images)
    np.testing.assert_array_equal(one.targets, other.targets)
    assert one.subject_names == other.subject_names


def test_a_few_people_need_no_others(orl):
    for person in range(4, 41):
        shutil.rmtree(orl / f"s{person}")
    assert len(load(str(orl), 16, 16, max_people=3)) == 30
    with pytest.raises(UserError, match=r"data\.root=.*: s4/1\.pgm is missing; data\.root must hold"):
        load(str(orl), 16, 16)


def test_another_size_is_another_data_set(orl):
    Image.new("L", (46, 56)).save(orl / "s2" / "7.pgm")
    with pytest.raises(UserError, match=r"s2/7\.pgm: 46 x 56 pixels, ORL's have 92 x 112"):
        load(str(orl), 16, 16)


def test_a_link_out_of_the_folder_is_refused(orl, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside") / "secret.pgm"
    (orl / "s1/1.pgm").rename(outside)
    (orl / "s1/1.pgm").symlink_to(outside)
    with pytest.raises(UserError, match="a symbolic link that leaves"):
        load(str(orl), 16, 16)


@pytest.mark.parametrize(
    ("field", "value"), [("height", 7), ("width", 0), ("max_people", 1), ("max_people", 41)]
)
def test_settings_out_of_range_are_named(orl, field, value):
    with pytest.raises(UserError, match=rf"data\.{field}={value}: must be"):
        load(str(orl), **{field: value})
