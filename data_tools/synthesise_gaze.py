"""Trees of synthetic eyes in the exact layout of published gaze data, to try a reader or a run on.

What is drawn are the pictures of ``data=synthetic_eyes``; nothing here looks like the real data beyond the
layout. In MPIIGaze's layout the pictures and labels come back unchanged; the others resize them.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fedpriv.data.gaze_convention import (
    mirror_gaze,
    mirror_image,
    point_from_gaze,
    unity_from_gaze,
    vector_from_gaze,
)
from fedpriv.data.synthetic.eye_priors import draw_person, draw_views
from fedpriv.data.synthetic.eyes import render_views
from fedpriv.errors import UserError
from fedpriv.formats import eth_xgaze, gazecapture, mpiifacegaze, mpiigaze, unityeyes
from fedpriv.formats.files import atomic_output
from fedpriv.progress import track

DISTANCE_CM = 30.0
"""Between eye and camera in GazeCapture's layout."""
_FRAMES_PER_DAY = 20
_SPLITS = ("train", "test", "train", "val", "train")
_UNITY_SIZE = (512, 384)


@dataclass(frozen=True)
class _Eyes:
    """Pictures of one person: both eyes as a camera sees them, with one gaze.

    Attributes:
        left: (N, 36, 60) uint8.
        right: (N, 36, 60) uint8.
        gaze: (N, 2) float64 radians.
    """

    left: NDArray[np.uint8]
    right: NDArray[np.uint8]
    gaze: NDArray[np.float64]


def _render(seed: int, person: int, count: int) -> _Eyes:
    constants = draw_person(seed, person)
    views = draw_views(constants, seed, person, count)
    # the right eye of a symmetrical face is the mirror image of a left eye that looks the other way
    other = render_views(constants, replace(views, yaw=-views.yaw))
    return _Eyes(
        render_views(constants, views)[:, 0],
        mirror_image(other[:, 0]),
        np.stack([views.pitch, views.yaw], axis=1).astype(np.float64),
    )


def _mpiigaze(out: Path, person: int, eyes: _Eyes) -> None:
    """Write picture 2n as the left and picture 2n + 1, mirrored, as the right eye of frame n."""
    count = len(eyes.gaze)
    left = np.arange(0, count, 2)
    # an odd last frame repeats its left eye; the evaluation list leaves that out
    right = np.minimum(left + 1, count - 1)
    per_day = max(_FRAMES_PER_DAY, -(-len(left) // 99))
    samples = []
    for day, start in enumerate(range(0, len(left), per_day), 1):
        rows = slice(start, start + per_day)
        names = tuple(f"{number:04d}.jpg" for number in range(1, len(left[rows]) + 1))
        nothing = np.zeros((len(names), 3))
        content = mpiigaze.Day(
            names,
            mpiigaze.Eyes(eyes.left[left[rows]], vector_from_gaze(eyes.gaze[left[rows]]), nothing),
            mpiigaze.Eyes(
                mirror_image(eyes.left[right[rows]]),
                vector_from_gaze(mirror_gaze(eyes.gaze[right[rows]])),
                nothing,
            ),
        )
        mpiigaze.write_day(out / mpiigaze.NORMALIZED / f"p{person:02d}" / f"day{day:02d}.mat", content)
        samples += [
            mpiigaze.Sample(f"day{day:02d}", name, side) for name in names for side in ("left", "right")
        ]
    mpiigaze.write_samples(out / mpiigaze.SAMPLE_LISTS / f"p{person:02d}.txt", tuple(samples[:count]))


def _mpiifacegaze(out: Path, person: int, eyes: _Eyes) -> None:
    labels = mpiifacegaze.FaceLabels(eyes.gaze, np.zeros_like(eyes.gaze))
    mpiifacegaze.write_person(out / f"p{person:02d}.mat", _faces(eyes, mpiifacegaze.SIZE), labels)


def _eth_xgaze(out: Path, person: int, eyes: _Eyes) -> None:
    eth_xgaze.write_person(out / "train" / f"subject{person:04d}.h5", _faces(eyes, 224), eyes.gaze)
    eth_xgaze.write_split(out, tuple(f"subject{index:04d}.h5" for index in range(person + 1)))


def _gazecapture(out: Path, person: int, eyes: _Eyes) -> None:
    folder = out / f"{person + 1:05d}"
    faces = _faces(eyes, 320)
    for index, face in enumerate(faces):
        frame = np.full((640, 480, 3), 90, dtype=np.uint8)
        frame[160:480, 80:400] = face
        _save_jpeg(folder / "frames" / f"{index:05d}.jpg", frame)
    count = len(faces)

    def boxes(x: float, y: float, width: float, height: float) -> NDArray[np.float64]:
        return np.tile([x, y, width, height], (count, 1))

    across, left, right, top = _eye_places(320)
    recording = gazecapture.Recording(
        _SPLITS[person % len(_SPLITS)],
        tuple(f"{index:05d}.jpg" for index in range(count)),
        np.ones(count, dtype=bool),
        point_from_gaze(eyes.gaze, DISTANCE_CM),
        boxes(80, 160, 320, 320),
        # square, as the device's detector gives them
        boxes(80 + left, 160 + top - across * 0.2, across, across),
        boxes(80 + right, 160 + top - across * 0.2, across, across),
    )
    gazecapture.write_recording(folder, recording)


def _unityeyes(out: Path, person: int, eyes: _Eyes) -> None:
    width, height = _UNITY_SIZE
    turn = np.linspace(np.pi, 3 * np.pi, 17)[:16]
    for index, (eye, gaze) in enumerate(zip(eyes.left, eyes.gaze, strict=True)):
        picture = Image.new("L", _UNITY_SIZE, int(eye.mean()))
        picture.paste(Image.fromarray(eye).resize((240, 144), Image.Resampling.BICUBIC), (136, 120))
        look = unity_from_gaze(gaze)
        middle = np.array([width / 2, height / 2])
        around = np.linspace(0, 2 * np.pi, 33)[:32]
        label = unityeyes.EyeLabel(
            look,
            middle + np.stack([80 * np.cos(turn), -30 * np.sin(turn)], axis=1),
            np.tile(middle - [80, 0], (7, 1)),
            middle + 74 * look[:2] + 36 * np.stack([np.cos(around), np.sin(around)], axis=1),
        )
        number = person * len(eyes.gaze) + index + 1
        _save_jpeg(out / f"{number}.jpg", np.asarray(picture.convert("RGB")))
        unityeyes.write_label(out / f"{number}.json", label)


def _eye_places(size: int) -> tuple[int, int, int, int]:
    """Return an eye's width in pixels, the x of the left and of the right eye, and the y of both."""
    return size * 5 // 16, size * 9 // 16, size * 2 // 16, size * 5 // 16


def _faces(eyes: _Eyes, size: int) -> NDArray[np.uint8]:
    """Draw both eyes on plain grey, the left one on the right: (N, size, size, 3)."""
    across, left, right, top = _eye_places(size)
    faces = np.empty((len(eyes.gaze), size, size, 3), dtype=np.uint8)
    for face, *pair in zip(faces, eyes.left, eyes.right, strict=True):
        face[:] = np.mean(pair)
        for eye, x in zip(pair, (left, right), strict=True):
            drawn = Image.fromarray(eye).resize((across, across * 3 // 5), Image.Resampling.BICUBIC)
            face[top : top + across * 3 // 5, x : x + across] = np.asarray(drawn)[..., None]
    return faces


def _save_jpeg(path: Path, picture: NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_output(path) as file:
        Image.fromarray(picture).save(file, "JPEG", quality=95)


_WRITERS: dict[str, tuple[Callable[[Path, int, _Eyes], None], int]] = {
    "eth_xgaze": (_eth_xgaze, 10_000),
    "gazecapture": (_gazecapture, 99_999),
    "mpiifacegaze": (_mpiifacegaze, 100),
    "mpiigaze": (_mpiigaze, 100),
    "unityeyes": (_unityeyes, 99_999),
}
"""Format to its writer and the most people that its file names have room for."""
FORMATS = tuple(_WRITERS)


def write_gaze(out: Path, format: str, people: int, images_per_person: int, seed: int) -> None:
    """Write ``people`` synthetic people in the layout of a published data set.

    Person k's picture i is that of ``data=synthetic_eyes`` with the same seed. In UnityEyes' layout, which
    knows no people, person after person follows; in GazeCapture's, people take turns as train, test,
    train, val, train, and the dot is ``DISTANCE_CM`` away.

    Args:
        out: a folder that is empty or not there yet; what is ``data.root`` afterwards.
        format: one of :data:`FORMATS`.
        people: at least 1.
        images_per_person: at least 1; eyes in MPIIGaze's and UnityEyes' layout, else frames; 9,999 at most.
        seed: of everything random, at least 0.

    Raises:
        UserError: an argument is out of range, or ``out`` is not empty or cannot be written.
    """
    if format not in _WRITERS:
        raise UserError(f"--format={format}: choose one of {', '.join(FORMATS)}")
    write, most = _WRITERS[format]
    for name, value, least, limit in (
        ("people", people, 1, most),
        ("images-per-person", images_per_person, 1, 9_999),
        ("seed", seed, 0, 2**63),
    ):
        if not least <= value <= limit:
            raise UserError(f"--{name}={value}: need {least} to {limit}")
    try:
        out.mkdir(parents=True, exist_ok=True)
        if any(out.iterdir()):
            raise UserError(f"--out={out}: is not empty; name a new folder")
    except OSError as error:
        raise UserError(f"--out={out}: cannot be written ({error.strerror}); name another folder") from error
    for person in track(range(people), f"write {format}"):
        write(out, person, _render(seed, person, images_per_person))
