"""The data set mpiifacegaze: colours, people, limits, and what a user gets wrong."""

import numpy as np
import pytest

from fedpriv.data.mpiifacegaze import load
from fedpriv.errors import UserError
from fedpriv.formats.mpiifacegaze import FaceLabels, write_person

GAZE = np.array([[0.1, -0.2], [0.3, 0.4], [0.5, 0.6]])


@pytest.fixture
def root(tmp_path, monkeypatch):
    """Red above, black below; brightness says who and which."""
    monkeypatch.setenv("FEDPRIV_CACHE", str(tmp_path / "cache"))
    for person in (0, 1):
        faces = np.zeros((3, 448, 448, 3), dtype=np.uint8)
        faces[:, :224, :, 0] = (100 * person + np.array([50, 60, 70]))[:, None, None]
        write_person(tmp_path / "set" / f"p{person:02d}.mat", faces, FaceLabels(GAZE + person, GAZE))
    return tmp_path / "set"


def test_faces_are_upright_and_red_is_red(root):
    dataset = load(str(root), size=32)
    assert dataset.images.shape == (6, 3, 32, 32)
    assert dataset.images[:, 0, 4, 4].tolist() == [50, 60, 70, 150, 160, 170]
    assert not np.asarray(dataset.images[:, 1:]).any()
    assert not np.asarray(dataset.images[:, :, 20:]).any()


def test_gaze_is_taken_as_it_stands(root):
    dataset = load(str(root), size=32)
    np.testing.assert_allclose(dataset.targets, np.concatenate([GAZE, GAZE + 1]), atol=1e-6)
    assert dataset.subjects.tolist() == [0, 0, 0, 1, 1, 1]
    assert dataset.subject_names == ("p00", "p01")


def test_limits_and_grey(root):
    dataset = load(str(root), size=32, colour=False, max_people=1, max_images=2)
    # 0.299 R
    assert dataset.images[:, 0, 4, 4].tolist() == [15, 18]
    np.testing.assert_allclose(dataset.targets, GAZE[:2], atol=1e-6)


def test_full_size_keeps_every_pixel(root):
    assert load(str(root), size=448, max_images=1).images[0, 0, 223, 0] == 50


def test_what_a_user_gets_wrong_is_named(root, tmp_path):
    with pytest.raises(UserError, match=r"data\.size=4: must be at least 8"):
        load(str(root), size=4)
    with pytest.raises(UserError, match=r"data\.root=.*: holds no p00\.mat, p01\.mat"):
        load(str(tmp_path))
    (root / "p01.mat").write_bytes(b"short")
    with pytest.raises(UserError, match=r"p01\.mat: is no HDF5 file"):
        load(str(root))
