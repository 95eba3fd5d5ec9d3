"""ETH-XGaze's normalised faces: one HDF5 file a person, and ``train_test_split.json``.

Layout (the data set's data_loader.py and normalization_example.py)::

    train_test_split.json    {"train": ["subject0000.h5", ...], "test": [...], "test_person_specific": [...]}
    train/subjectNNNN.h5     face_patch (N, S, S, 3) uint8 BGR, S = 224 or 448
                             face_gaze, face_head_pose (N, 2) (pitch, yaw), face_mat_norm (N, 3, 3)
                             frame_index, cam_index (N, 1)

Only the training part has labels. Their numbers are asin(-y), atan2(-x, -z) of the direction in the
camera's axes, as in MPIIGaze.

Source: Zhang et al. 2020, "ETH-XGaze" (arXiv 2007.15837).
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from fedpriv.errors import FormatError
from fedpriv.formats.files import atomic_output
from fedpriv.formats.hdf5 import open_hdf5, plain_dataset, read_rows, saved_hdf5
from fedpriv.formats.json_file import read_json

SPLIT = "train_test_split.json"
MAX_SPLIT_BYTES = 2**20
MAX_SIZE = 2048
_NAME = re.compile(r"subject[0-9]{4}\.h5")
_ROWS = 32


def read_training_files(root: Path) -> tuple[str, ...]:
    """Return the names of the training files, in the order of the published split.

    Raises:
        FormatError: the split is missing or names anything but ``subjectNNNN.h5``, each once.
    """
    path = root / SPLIT
    names = read_json(path, root, MAX_SPLIT_BYTES).get("train")
    if not isinstance(names, list) or not names:
        raise FormatError(path, None, "train: need a list of file names")
    for name in names:
        if not isinstance(name, str) or _NAME.fullmatch(name) is None:
            raise FormatError(path, None, f"train: {str(name)[:60]!r}, need names like subject0000.h5")
    if len(set(names)) != len(names):
        raise FormatError(path, None, "train: names a file twice")
    return tuple(names)


def read_gaze(path: Path, root: Path) -> NDArray[np.float64]:
    """Return one person's (N, 2) pitch and yaw in radians.

    Raises:
        FormatError: naming the file and the field that is not as the module says.
    """
    with open_hdf5(path, root) as file:
        count = _patches(file).shape[0]
        values = np.asarray(plain_dataset(file, "face_gaze", (count, 2), "f")[:], dtype=np.float64)
    if not (np.abs(values) <= np.pi).all():
        raise FormatError(path, None, "face_gaze: holds what is no angle in radians")
    return values


def read_faces(path: Path, root: Path, rows: NDArray[np.int64]) -> Iterator[NDArray[np.uint8]]:
    """Yield the faces ``rows`` (ascending), (S, S, 3) uint8 RGB.

    Raises:
        FormatError: as :func:`read_gaze`.
    """
    with open_hdf5(path, root) as file:
        patches = _patches(file)
        for start in range(0, len(rows), _ROWS):
            yield from np.ascontiguousarray(read_rows(patches, rows[start : start + _ROWS])[..., ::-1])


def _patches(file: h5py.File) -> h5py.Dataset:
    patches = plain_dataset(file, "face_patch", (None, None, None, 3), "u")
    _, height, width, _ = patches.shape
    if patches.dtype != np.uint8 or height != width or not 8 <= height <= MAX_SIZE:
        raise FormatError(
            file.filename,
            None,
            f"face_patch: {patches.dtype} {patches.shape}, need uint8 squares up to {MAX_SIZE}",
        )
    return patches


def write_person(path: Path, faces: NDArray[np.uint8], gaze: NDArray[np.floating]) -> None:
    """Write one person, chunked and LZF-compressed by the picture as the authors do.

    Args:
        path: ``subjectNNNN.h5``.
        faces: (N, S, S, 3) RGB.
        gaze: (N, 2) pitch and yaw in radians; the head is written as facing the camera.
    """
    count, size = faces.shape[:2]
    with saved_hdf5(path) as file:
        file.create_dataset("face_patch", data=faces[..., ::-1], chunks=(1, size, size, 3), compression="lzf")
        file.create_dataset("face_gaze", data=np.asarray(gaze, dtype=np.float64), chunks=(1, 2))
        file.create_dataset("face_head_pose", data=np.zeros((count, 2)), chunks=(1, 2))
        file.create_dataset("face_mat_norm", data=np.tile(np.eye(3), (count, 1, 1)), chunks=(1, 3, 3))
        file.create_dataset("frame_index", data=np.arange(count, dtype=np.int64)[:, None], chunks=(1, 1))
        file.create_dataset("cam_index", data=np.zeros((count, 1), dtype=np.int64), chunks=(1, 1))


def write_split(root: Path, train: tuple[str, ...]) -> None:
    """Write ``train_test_split.json`` with these training files and no test files."""
    parts = {"train": list(train), "test": [], "test_person_specific": []}
    with atomic_output(root / SPLIT) as file:
        file.write(json.dumps(parts).encode())
