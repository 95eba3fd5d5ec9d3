"""The data set unityeyes: crop, gaze, nameless people, and what a user gets wrong."""

import numpy as np
import pytest
from PIL import Image

from fedpriv.data.unityeyes import load
from fedpriv.errors import UserError
from fedpriv.formats.unityeyes import EyeLabel, write_label


@pytest.fixture
def root(tmp_path, monkeypatch):
    """The box of every eye, 150 x 90 about (300, 100) from above, is white in its upper half."""
    monkeypatch.setenv("FEDPRIV_CACHE", str(tmp_path / "cache"))
    rim = np.tile([300.0, 284.0], (16, 1))
    rim[8], rim[0] = [350.0, 284.0], [250.0, 284.0]
    for number in (1, 2, 10):
        picture = np.zeros((384, 512), dtype=np.uint8)
        picture[40:100, 200:400] = 200 + number
        (tmp_path / "imgs").mkdir(exist_ok=True)
        Image.fromarray(picture).convert("RGB").save(tmp_path / "imgs" / f"{number}.jpg", quality=100)
        look = np.array([0.0, np.sin(number / 20), -np.cos(number / 20)])
        label = EyeLabel(look, rim, np.tile([250.0, 284.0], (7, 1)), np.tile([300.0, 284.0], (32, 1)))
        write_label(tmp_path / "imgs" / f"{number}.json", label)
    return tmp_path / "imgs"


def test_eyes_are_cut_out_by_their_landmarks(root):
    dataset = load(str(root))
    assert dataset.images.shape == (3, 1, 36, 60)
    pictures = np.asarray(dataset.images)[:, 0].astype(int)
    assert np.abs(pictures[:, 2:16].mean(axis=(1, 2)) - [201, 202, 210]).max() < 1.5
    assert pictures[:, 20:].max() < 5


def test_looking_up_in_unity_is_positive_pitch(root):
    np.testing.assert_allclose(load(str(root)).targets, [[0.05, 0], [0.1, 0], [0.5, 0]], atol=1e-6)


def test_every_picture_is_a_person_of_its_own(root):
    dataset = load(str(root))
    assert dataset.subjects.tolist() == [0, 1, 2]
    assert dataset.subject_names == ("image000000", "image000001", "image000002")
    assert len(load(str(root), max_images=2)) == 2


def test_what_a_user_gets_wrong_is_named(root, tmp_path):
    with pytest.raises(UserError, match=r"data\.max_images=0: must be at least 1"):
        load(str(root), max_images=0)
    with pytest.raises(UserError, match=r"data\.root=.*: holds no pair of \.json and \.jpg"):
        load(str(tmp_path))
    (root / "2.jpg").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"2\.jpg: not a readable"):
        load(str(root))
