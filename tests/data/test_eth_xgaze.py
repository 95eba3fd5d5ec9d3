"""The data set eth_xgaze: the published list of people, colours, and what a user gets wrong."""

import numpy as np
import pytest

from fedpriv.data.eth_xgaze import load
from fedpriv.errors import UserError
from fedpriv.formats.eth_xgaze import write_person, write_split

GAZE = np.array([[0.1, -0.2], [0.3, 0.4]])


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("FEDPRIV_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "xgaze_224"
    for person in (0, 3, 5):
        faces = np.zeros((2, 32, 32, 3), dtype=np.uint8)
        faces[..., 0] = 40 * person + np.array([10, 20])[:, None, None]
        write_person(root / "train" / f"subject{person:04d}.h5", faces, GAZE + person / 10)
    write_split(root, ("subject0005.h5", "subject0000.h5"))
    return root


def test_people_are_those_of_the_training_list_in_its_order(root):
    dataset = load(str(root), size=16)
    assert dataset.subject_names == ("subject0005", "subject0000")
    assert dataset.images[:, 0, 3, 3].tolist() == [210, 220, 10, 20]
    assert not np.asarray(dataset.images[:, 1:]).any()
    np.testing.assert_allclose(dataset.targets, np.concatenate([GAZE + 0.5, GAZE]), atol=1e-6)
    assert dataset.held_out is None


def test_limits(root):
    dataset = load(str(root), size=16, max_people=1, max_images=1)
    assert dataset.images.shape == (1, 3, 16, 16)
    np.testing.assert_allclose(dataset.targets, GAZE[:1] + 0.5, atol=1e-6)


def test_what_a_user_gets_wrong_is_named(root, tmp_path):
    with pytest.raises(UserError, match=r"data\.root=.*: has no 'train_test_split\.json'"):
        load(str(tmp_path))
    with pytest.raises(UserError, match=r"data\.max_images=0"):
        load(str(root), max_images=0)
    write_split(root, ("subject0007.h5",))
    with pytest.raises(
        UserError, match=r"has no 'train/subject0007\.h5', which train_test_split\.json lists"
    ):
        load(str(root))
