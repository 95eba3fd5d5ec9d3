"""MPIIFaceGaze's files: the published layout seen with plain h5py, colours, orientation, refusals."""

import h5py
import numpy as np
import pytest

from fedpriv.errors import FormatError
from fedpriv.formats.mpiifacegaze import FaceLabels, read_faces, read_labels, write_person

ALL = np.arange(2)


@pytest.fixture
def faces():
    """Red above, blue below on the right: says where up, right and red are."""
    faces = np.zeros((2, 448, 448, 3), dtype=np.uint8)
    faces[:, :224, :, 0] = 200
    faces[:, 224:, 224:, 2] = [[[100]], [[150]]]
    return faces


@pytest.fixture
def path(tmp_path, faces):
    labels = FaceLabels(np.array([[0.1, -0.2], [0.3, 0.4]]), np.array([[0.5, 0.6], [0.7, 0.8]]))
    write_person(tmp_path / "p00.mat", faces, labels)
    return tmp_path / "p00.mat"


def test_what_is_written_is_read(path, faces):
    assert np.array_equal(np.stack(list(read_faces(path, path.parent, ALL))), faces)
    assert np.array_equal(np.stack(list(read_faces(path, path.parent, ALL[1:]))), faces[1:])
    labels = read_labels(path, path.parent)
    assert labels.gaze.tolist() == [[0.1, -0.2], [0.3, 0.4]]
    assert labels.head.tolist() == [[0.5, 0.6], [0.7, 0.8]]


def test_the_layout_is_the_one_that_public_loaders_read(path, faces):
    # as tools/preprocess_mpiifacegaze.py of hysts/pytorch_mpiigaze opens it
    with h5py.File(path, "r") as file:
        assert file.userblock_size == 512
        images = file.get("Data/data")[()].transpose(0, 2, 3, 1).astype(np.uint8)
        labels = file.get("Data/label")[()]
    assert labels.shape == (2, 16)
    assert labels[:, :2].tolist() == [[0.1, -0.2], [0.3, 0.4]]
    np.testing.assert_array_equal(images[..., [2, 1, 0]], faces)


def test_the_authors_steps_for_caffe_are_what_the_stored_axes_hold(path, faces):
    # swap channels, flip the second axis, turn by 90 degrees counterclockwise: that is MATLAB's view,
    # (448, 448, 3, N), of what HDF5 shows with reversed axes
    with h5py.File(path, "r") as file:
        matlab = file["Data/data"][()].transpose(3, 2, 1, 0)
    for index, face in enumerate(faces):
        prepared = np.rot90(face[:, :, [2, 1, 0]][:, ::-1], 1)
        np.testing.assert_array_equal(matlab[..., index], prepared)


def test_pixels_stored_as_floats_read(tmp_path):
    with h5py.File(tmp_path / "p00.mat", "w") as file:
        file["Data/data"] = np.full((1, 3, 448, 448), 7, dtype=np.float32)
        file["Data/label"] = np.zeros((1, 16), dtype=np.float32)
    face = next(read_faces(tmp_path / "p00.mat", tmp_path, np.arange(1)))
    assert face.dtype == np.uint8
    assert (face == 7).all()


@pytest.mark.parametrize(
    ("images", "label", "reason"),
    [
        (np.zeros((1, 3, 448, 447), np.uint8), np.zeros((1, 16)), "Data/data: shape"),
        (np.zeros((448, 448, 3, 1), np.uint8), np.zeros((16, 1)), "Data/data: shape"),
        (np.zeros((1, 3, 448, 448), np.uint8), np.zeros((2, 16)), "Data/label: shape"),
        (np.zeros((1, 3, 448, 448), np.uint8), np.full((1, 16), np.nan), "Data/label: .*no angles"),
        (np.zeros((1, 3, 448, 448), np.uint8), np.full((1, 16), 10.0), "Data/label: .*no angles"),
        (np.zeros((1, 3, 448, 448), np.int16) - 1, np.zeros((1, 16)), "Data/data: type int16"),
        (np.zeros((1, 3, 448, 448), np.float32) + 256, np.zeros((1, 16)), "Data/data: pixels outside"),
        (np.full((1, 3, 448, 448), np.nan, np.float32), np.zeros((1, 16)), "Data/data: pixels outside"),
    ],
)
def test_a_wrong_field_is_named(tmp_path, images, label, reason):
    with h5py.File(tmp_path / "p00.mat", "w") as file:
        file["Data/data"], file["Data/label"] = images, label

    def read():
        read_labels(tmp_path / "p00.mat", tmp_path)
        return list(read_faces(tmp_path / "p00.mat", tmp_path, np.arange(1)))

    with pytest.raises(FormatError, match=rf"p00\.mat: {reason}") as caught:
        read()
    assert "\n" not in str(caught.value)
