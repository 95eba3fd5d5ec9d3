"""MPIIGaze's normalised eye images and its evaluation lists.

Layout (tools/preprocess_mpiigaze.py of hysts/pytorch_mpiigaze reads the same)::

    Data/Normalized/pXX/dayYY.mat                       data.{left,right}.{image,gaze,pose}; filenames
    Evaluation Subset/sample list for eye image/pXX.txt  "dayYY/NNNN.jpg left|right", 3,000 a person

``image`` is (N, 36, 60) uint8 (floats from 0 to 255 are taken too), ``gaze`` (N, 3) a unit vector and
``pose`` (N, 3) a rotation vector in the normalised camera's axes (x right, y down, z into the scene),
``filenames`` N names.

Source: Zhang et al. 2015, "Appearance-based gaze estimation in the wild" (arXiv 1504.02863).
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
from numpy.typing import NDArray

from fedpriv.errors import FormatError
from fedpriv.formats.files import atomic_output, read_input
from fedpriv.formats.matlab5 import read_matlab5

NORMALIZED = Path("Data") / "Normalized"
SAMPLE_LISTS = Path("Evaluation Subset") / "sample list for eye image"
HEIGHT, WIDTH = 36, 60
MAX_LIST_BYTES = 16 * 2**20
_LINE = re.compile(r"(day[0-9]{2})/([0-9]{4}\.jpg) (left|right)")
_NORM_TOLERANCE = 0.05


@dataclass(frozen=True)
class Eyes:
    """One side of N frames.

    Attributes:
        images: (N, 36, 60) uint8.
        gaze: (N, 3) float64, unit vectors.
        pose: (N, 3) float64, rotation of the head (Rodrigues), radians.
    """

    images: NDArray[np.uint8]
    gaze: NDArray[np.float64]
    pose: NDArray[np.float64]


@dataclass(frozen=True)
class Day:
    """One ``dayYY.mat``: both eyes of N frames, as stored (right eyes are not mirrored)."""

    filenames: tuple[str, ...]
    left: Eyes
    right: Eyes


@dataclass(frozen=True)
class Sample:
    """One line of an evaluation list."""

    day: str
    filename: str
    side: str


def read_day(path: Path, root: Path) -> Day:
    """Read one day of one person.

    Raises:
        FormatError: naming the file and the field that is not as the module says.
    """
    variables = read_matlab5(path, root)
    names = variables.get("filenames")
    if not isinstance(names, np.ndarray):
        raise FormatError(path, None, "filenames: is missing")
    filenames = tuple(_text(path, name) for name in names.ravel())
    data = _only(path, "data", variables.get("data"))
    left, right = (
        _eyes(path, f"data.{side}", _only(path, f"data.{side}", getattr(data, side, None)), len(filenames))
        for side in ("left", "right")
    )
    return Day(filenames, left, right)


def _only(path: Path, field: str, value: Any) -> Any:
    if not isinstance(value, np.ndarray) or value.size != 1 or not hasattr(value.item(), "_fieldnames"):
        raise FormatError(path, None, f"{field}: is no structure")
    return value.item()


def _text(path: Path, value: Any) -> str:
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.item()
    if not isinstance(value, str):
        raise FormatError(path, None, "filenames: holds what is no text")
    return value


def _eyes(path: Path, field: str, side: Any, count: int) -> Eyes:
    images = _array(path, f"{field}.image", side, (count, HEIGHT, WIDTH), "uf")
    # a comparison that NaN fails too
    if images.dtype != np.uint8 and not ((images >= 0) & (images <= 255)).all():
        raise FormatError(path, None, f"{field}.image: pixels outside 0 to 255")
    gaze = _array(path, f"{field}.gaze", side, (count, 3), "f").astype(np.float64)
    pose = _array(path, f"{field}.pose", side, (count, 3), "f").astype(np.float64)
    for name, values in (("gaze", gaze), ("pose", pose)):
        if not np.isfinite(values).all():
            raise FormatError(path, None, f"{field}.{name}: holds a value that is not finite")
    lengths = np.linalg.norm(gaze, axis=1)
    if (np.abs(lengths - 1) > _NORM_TOLERANCE).any():
        row = int(np.argmax(np.abs(lengths - 1)))
        raise FormatError(
            path, None, f"{field}.gaze: row {row} has length {lengths[row]:.3g}, need unit vectors"
        )
    return Eyes(np.rint(images).astype(np.uint8), gaze, pose)


def _array(path: Path, field: str, side: Any, shape: tuple[int, ...], kinds: str) -> NDArray[Any]:
    value = getattr(side, field.rpartition(".")[2], None)
    if not isinstance(value, np.ndarray):
        raise FormatError(path, None, f"{field}: is missing")
    # a single frame may have been saved without its first axis
    if shape[0] == 1 and value.shape == shape[1:]:
        value = value[None]
    if value.shape != shape or value.dtype.kind not in kinds:
        raise FormatError(path, None, f"{field}: {value.dtype} {value.shape}, need {shape}")
    return value


def write_day(path: Path, day: Day) -> None:
    """Write one day, compressed as MATLAB does; the file gets its name when it is whole."""
    names = np.empty((len(day.filenames), 1), dtype=object)
    names[:, 0] = day.filenames
    data = {
        side: {"image": eyes.images, "gaze": eyes.gaze, "pose": eyes.pose}
        for side, eyes in (("left", day.left), ("right", day.right))
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_output(path) as file:
        scipy.io.savemat(file, {"data": data, "filenames": names}, do_compression=True, oned_as="column")


def read_samples(path: Path, root: Path) -> tuple[Sample, ...]:
    """Read one person's evaluation list.

    Raises:
        FormatError: naming file and line.
    """
    text = read_input(path, MAX_LIST_BYTES, root).decode("utf-8", "replace")
    samples = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        match = _LINE.fullmatch(line.strip())
        if match is None:
            raise FormatError(path, number, f"{line[:60]!r}: need 'dayYY/NNNN.jpg left|right'", unit="line")
        samples.append(Sample(*match.groups()))
    return tuple(samples)


def write_samples(path: Path, samples: tuple[Sample, ...]) -> None:
    """Write one person's evaluation list."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_output(path) as file:
        file.write("".join(f"{item.day}/{item.filename} {item.side}\n" for item in samples).encode())
