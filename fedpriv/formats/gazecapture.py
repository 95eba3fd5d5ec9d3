"""GazeCapture's recordings: a folder ``NNNNN`` of frames and JSON files for each person.

Layout (README of CSAILVision/GazeCapture); element i of every array belongs to frame i::

    frames/00000.jpg ...         as frames.json, an array, names them
    appleFace.json               {X, Y, W, H, IsValid} in pixels; so are appleLeftEye.json, appleRightEye.json
    dotInfo.json                 {DotNum, XPts, YPts, XCam, YCam, Time}
    faceGrid.json                {X, Y, W, H, IsValid} in cells of 25 x 25
    info.json                    {TotalFrames, ..., Dataset: train|val|test, DeviceName}
    screen.json                  {H, W, Orientation}

The face's box is relative to the frame, an eye's to the FACE'S box; "left" is the person's left, on the
right of the picture. XCam and YCam are the dot in cm from the camera, y up. The authors' Matlab code
shifts boxes by a pixel (from 1-based indices); boxes are used here as they stand.

Source: Krafka et al. 2016, "Eye tracking for everyone" (arXiv 1606.05814).
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedpriv.errors import FormatError
from fedpriv.formats.files import atomic_output
from fedpriv.formats.json_file import numbers, read_json

MAX_JSON_BYTES = 64 * 2**20
SPLITS = ("train", "val", "test")
_RECORDING = re.compile(r"[0-9]{5}")
_FRAME = re.compile(r"[0-9]{5}\.jpg")
_BOX = ("X", "Y", "W", "H")
_FILES = ("frames", "info", "dotInfo", "appleFace", "appleLeftEye", "appleRightEye", "faceGrid")


@dataclass(frozen=True)
class Recording:
    """The frames of one person; boxes are x, y, width, height in pixels of the whole frame.

    Attributes:
        split: ``train``, ``val`` or ``test``.
        frames: M file names in ``frames/``.
        valid: (M,) bool, face and both eyes were detected.
        point: (M, 2) float64, XCam and YCam in cm.
        face: (M, 4) float64.
        left_eye: (M, 4) float64, the person's left eye.
        right_eye: (M, 4) float64.
    """

    split: str
    frames: tuple[str, ...]
    valid: NDArray[np.bool_]
    point: NDArray[np.float64]
    face: NDArray[np.float64]
    left_eye: NDArray[np.float64]
    right_eye: NDArray[np.float64]


def list_recordings(root: Path) -> tuple[Path, ...]:
    """Return the folders ``NNNNN`` under ``root`` in order."""
    return tuple(
        sorted(entry for entry in root.iterdir() if _RECORDING.fullmatch(entry.name) and entry.is_dir())
    )


def sources(folder: Path) -> tuple[Path, ...]:
    """Return what tells whether a recording changed: its JSON files and its folder of frames."""
    paths = tuple(folder / f"{name}.json" for name in _FILES)
    for path in (*paths, folder / "frames"):
        if not path.exists():
            raise FormatError(path, None, "is missing; unpack the recording again")
    return (*paths, folder / "frames")


def read_recording(folder: Path, root: Path) -> Recording:
    """Read one person's JSON files.

    Raises:
        FormatError: naming the file and the field that is not as the module says.
    """
    frames = _frames(folder / "frames.json", root)
    count = len(frames)
    info = read_json(folder / "info.json", root, MAX_JSON_BYTES)
    if info.get("Dataset") not in SPLITS:
        raise FormatError(folder / "info.json", None, f"Dataset: need one of {', '.join(SPLITS)}")
    path = folder / "dotInfo.json"
    dots = read_json(path, root, MAX_JSON_BYTES)
    point = np.stack([numbers(path, field, dots.get(field), (count,)) for field in ("XCam", "YCam")], axis=-1)
    boxes, valid = {}, np.ones(count, dtype=bool)
    for name in ("appleFace", "appleLeftEye", "appleRightEye", "faceGrid"):
        path = folder / f"{name}.json"
        content = read_json(path, root, MAX_JSON_BYTES)
        boxes[name] = np.stack(
            [numbers(path, field, content.get(field), (count,)) for field in _BOX], axis=-1
        )
        detected = numbers(path, "IsValid", content.get("IsValid"), (count,)) != 0
        if name != "faceGrid" and not (boxes[name][detected, 2:] >= 1).all():
            raise FormatError(path, None, "W, H: a valid box is less than a pixel wide or high")
        valid &= detected
    for name in ("appleLeftEye", "appleRightEye"):
        boxes[name][:, :2] += boxes["appleFace"][:, :2]
    return Recording(
        info["Dataset"],
        frames,
        valid,
        point,
        boxes["appleFace"],
        boxes["appleLeftEye"],
        boxes["appleRightEye"],
    )


def _frames(path: Path, root: Path) -> tuple[str, ...]:
    names = read_json(path, root, MAX_JSON_BYTES, kind=list)
    for name in names:
        if not isinstance(name, str) or _FRAME.fullmatch(name) is None:
            raise FormatError(path, None, f"{str(name)[:60]!r}: need names like 00000.jpg")
    return tuple(names)


def write_recording(folder: Path, recording: Recording, device: str = "iPhone 6") -> None:
    """Write the JSON files of a recording; its frames are the caller's.

    Points on the screen, the face grid and times, which no reader here uses, are written as zeros.
    """
    folder.mkdir(parents=True, exist_ok=True)
    count = len(recording.frames)
    valid = recording.valid.astype(int).tolist()
    zeros = [0] * count

    def boxes(values: NDArray[np.float64]) -> dict[str, Any]:
        columns = {field: values[:, index].tolist() for index, field in enumerate(_BOX)}
        return {**columns, "IsValid": valid}

    def inside(eye: NDArray[np.float64]) -> NDArray[np.float64]:
        return eye - np.pad(recording.face[:, :2], ((0, 0), (0, 2)))

    contents: dict[str, Any] = {
        "frames": list(recording.frames),
        "info": {
            "TotalFrames": count,
            "NumFaceDetections": sum(valid),
            "NumEyeDetections": sum(valid),
            "Dataset": recording.split,
            "DeviceName": device,
        },
        "dotInfo": {
            "DotNum": list(range(count)),
            "XPts": zeros,
            "YPts": zeros,
            "XCam": recording.point[:, 0].tolist(),
            "YCam": recording.point[:, 1].tolist(),
            "Time": zeros,
        },
        "appleFace": boxes(recording.face),
        "appleLeftEye": boxes(inside(recording.left_eye)),
        "appleRightEye": boxes(inside(recording.right_eye)),
        "faceGrid": boxes(np.zeros((count, 4))),
        "screen": {"H": [568] * count, "W": [320] * count, "Orientation": [1] * count},
    }
    for name, content in contents.items():
        with atomic_output(folder / f"{name}.json") as file:
            file.write(json.dumps(content).encode())
