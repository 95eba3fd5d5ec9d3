"""MPIIFaceGaze's normalised faces: ``pXX.mat``, MATLAB 7.3, that is HDF5.

``Data/data`` (N, 3, 448, 448) numbers 0 to 255 and ``Data/label`` (N, 16), N = 3,000 as published, both as
HDF5 shows them: MATLAB shows the axes in reverse. Labels: 0:2 gaze (pitch, yaw), 2:4 head (pitch,
yaw), radians; 4:16 six landmarks (x, y) (assumed, not read).

Orientation: the authors' page says that BGR, a flip and a turn by 90 degrees were applied for Caffe. Flip
and turn together are a transposition, which HDF5's reversed axes undo: read here, pictures are
upright and BGR. That is how hysts/pytorch_mpiigaze and others use them; no original was at hand to look at.

Source: Zhang et al. 2017, "It's written all over your face" (arXiv 1611.08860).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedpriv.errors import FormatError
from fedpriv.formats.hdf5 import open_hdf5, plain_dataset, read_rows, saved_hdf5

SIZE = 448
LABELS = 16
_ROWS = 32


@dataclass(frozen=True)
class FaceLabels:
    """Labels of N faces, radians.

    Attributes:
        gaze: (N, 2) float64, pitch and yaw.
        head: (N, 2) float64, pitch and yaw.
    """

    gaze: NDArray[np.float64]
    head: NDArray[np.float64]


def read_labels(path: Path, root: Path) -> FaceLabels:
    """Read one person's labels.

    Raises:
        FormatError: naming the file and the field that is not as the module says.
    """
    with open_hdf5(path, root) as file:
        images = plain_dataset(file, "Data/data", (None, 3, SIZE, SIZE), "uf")
        label = plain_dataset(file, "Data/label", (images.shape[0], LABELS), "f")
        values = np.asarray(label[:, :4], dtype=np.float64)
    # a comparison that NaN fails too
    if not (np.abs(values) <= np.pi).all():
        raise FormatError(path, None, "Data/label: columns 0 to 3 are no angles in radians")
    return FaceLabels(values[:, :2], values[:, 2:])


def read_faces(path: Path, root: Path, rows: NDArray[np.int64]) -> Iterator[NDArray[np.uint8]]:
    """Yield the faces ``rows`` (ascending), (448, 448, 3) uint8 RGB, upright.

    Raises:
        FormatError: as :func:`read_labels`.
    """
    with open_hdf5(path, root) as file:
        images = plain_dataset(file, "Data/data", (None, 3, SIZE, SIZE), "uf")
        for start in range(0, len(rows), _ROWS):
            part = read_rows(images, rows[start : start + _ROWS])
            if not ((part >= 0) & (part <= 255)).all():
                raise FormatError(path, None, "Data/data: pixels outside 0 to 255")
            yield from np.ascontiguousarray(np.rint(part).astype(np.uint8).transpose(0, 2, 3, 1)[..., ::-1])


def write_person(path: Path, faces: NDArray[np.uint8], labels: FaceLabels) -> None:
    """Write one person.

    Args:
        path: ``pXX.mat``.
        faces: (N, 448, 448, 3) RGB, upright.
        labels: of the faces; landmarks are written as zeros.
    """
    label = np.zeros((len(faces), LABELS), dtype=np.float64)
    label[:, :2], label[:, 2:4] = labels.gaze, labels.head
    with saved_hdf5(path, userblock_size=512) as file:
        file.create_dataset(
            "Data/data",
            data=faces[..., ::-1].transpose(0, 3, 1, 2),
            chunks=(1, 3, SIZE, SIZE),
            compression="gzip",
        )
        file.create_dataset("Data/label", data=label)
