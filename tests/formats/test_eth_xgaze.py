"""ETH-XGaze's files: the published layout seen with plain h5py and json, and refusals."""

import json

import h5py
import numpy as np
import pytest

from fedpriv.errors import FormatError
from fedpriv.formats.eth_xgaze import read_faces, read_gaze, read_training_files, write_person, write_split

GAZE = np.array([[0.1, -0.2], [0.3, 0.4], [-1.2, 1.3]])


@pytest.fixture
def faces():
    return np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)


@pytest.fixture
def path(tmp_path, faces):
    write_person(tmp_path / "train" / "subject0003.h5", faces, GAZE)
    return tmp_path / "train" / "subject0003.h5"


def test_what_is_written_is_read(path, faces):
    assert np.array_equal(np.stack(list(read_faces(path, path.parent, np.array([0, 2])))), faces[[0, 2]])
    assert read_gaze(path, path.parent).tolist() == GAZE.tolist()


def test_the_layout_is_the_one_that_the_authors_loader_reads(path, faces):
    # as data_loader.py of xucong-zhang/ETH-XGaze opens it
    with h5py.File(path, "r", swmr=True) as file:
        assert file.swmr_mode
        assert file["face_patch"].shape == (3, 16, 16, 3)
        assert file["face_patch"].dtype == np.uint8
        np.testing.assert_array_equal(file["face_patch"][1, :][:, :, [2, 1, 0]], faces[1])
        np.testing.assert_array_equal(file["face_gaze"][1, :].astype("float"), GAZE[1])
        assert set(file) == {
            "face_patch", "face_gaze", "face_head_pose", "face_mat_norm", "frame_index", "cam_index",
        }  # fmt: skip
        assert file["face_mat_norm"].shape == (3, 3, 3)
        assert file["cam_index"].shape == file["frame_index"].shape == (3, 1)


def test_the_split_is_json_with_the_published_keys(tmp_path):
    write_split(tmp_path, ("subject0003.h5", "subject0000.h5"))
    assert json.loads((tmp_path / "train_test_split.json").read_text()) == {
        "train": ["subject0003.h5", "subject0000.h5"],
        "test": [],
        "test_person_specific": [],
    }
    assert read_training_files(tmp_path) == ("subject0003.h5", "subject0000.h5")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("[", "is no JSON"),
        ("[]", "holds a list"),
        ("{}", "train: need a list"),
        ('{"train": []}', "train: need a list"),
        ('{"train": ["../../secret.h5"]}', "train: '../../secret.h5', need names like"),
        ('{"train": [3]}', "train: '3', need names like"),
        ('{"train": ["subject0000.h5", "subject0000.h5"]}', "names a file twice"),
        ("[" * 100_000, "is no JSON"),
    ],
)
def test_a_wrong_split_is_named(tmp_path, content, reason):
    (tmp_path / "train_test_split.json").write_text(content)
    with pytest.raises(FormatError, match=rf"train_test_split\.json: .*{reason}") as caught:
        read_training_files(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("patch", "gaze", "reason"),
    [
        (np.zeros((2, 16, 17, 3), np.uint8), np.zeros((2, 2)), "face_patch: .*squares"),
        (np.zeros((2, 4, 4, 3), np.uint8), np.zeros((2, 2)), "face_patch: .*squares"),
        (np.zeros((2, 16, 16, 3), np.uint16), np.zeros((2, 2)), "face_patch: uint16"),
        (np.zeros((2, 3, 16, 16), np.uint8), np.zeros((2, 2)), "face_patch: shape"),
        (np.zeros((2, 16, 16, 3), np.uint8), np.zeros((3, 2)), "face_gaze: shape"),
        (np.zeros((2, 16, 16, 3), np.uint8), np.full((2, 2), np.nan), "face_gaze: .*no angle"),
        (np.zeros((2, 16, 16, 3), np.uint8), np.full((2, 2), 45.0), "face_gaze: .*no angle"),
    ],
)
def test_a_wrong_field_is_named(tmp_path, patch, gaze, reason):
    with h5py.File(tmp_path / "subject0000.h5", "w") as file:
        file["face_patch"], file["face_gaze"] = patch, gaze
    with pytest.raises(FormatError, match=rf"subject0000\.h5: {reason}"):
        read_gaze(tmp_path / "subject0000.h5", tmp_path)


def test_a_test_file_without_labels_is_named(tmp_path):
    with h5py.File(tmp_path / "subject0000.h5", "w") as file:
        file["face_patch"] = np.zeros((2, 16, 16, 3), np.uint8)
    with pytest.raises(FormatError, match="face_gaze: is missing"):
        read_gaze(tmp_path / "subject0000.h5", tmp_path)
