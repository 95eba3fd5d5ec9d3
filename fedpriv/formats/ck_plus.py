"""CK+: sequences of frames from a neutral face to the peak of an expression.

``cohn-kanade-images/S005/001/S005_001_00000011.png`` are the frames of sequence 001 of person S005. For 327
of the 593 sequences ``Emotion/S005/001/S005_001_00000011_emotion.txt`` holds one number from 0 to 7;
``Landmarks/S005/001/S005_001_00000011_landmarks.txt`` holds 68 lines ``x y`` for every frame, in the order
of Multi-PIE (36 to 41 the eye on the left of the image, 42 to 47 the one on its right).

Lucey et al., The Extended Cohn-Kanade Dataset (CK+), CVPR Workshops 2010.
"""

import re
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fedpriv.errors import FormatError, UserError
from fedpriv.formats.files import read_input

LANDMARKS = 68
IMAGES, EMOTIONS, POINTS = "cohn-kanade-images", "Emotion", "Landmarks"
_SUBJECT = re.compile(r"S[0-9]{3}")
_SEQUENCE = re.compile(r"[0-9]{3}")
_FRAME = re.compile(r"S[0-9]{3}_[0-9]{3}_[0-9]{8}\.png")
_MAX_BYTES = 16_384


@dataclass(frozen=True)
class Sequence:
    """One sequence of a person.

    Attributes:
        subject: ``S005``.
        number: ``001``.
        frames: names of its frames without suffix, in time: the first neutral, the last the peak.
        label: 0 to 7, None where the publishers gave none.
    """

    subject: str
    number: str
    frames: tuple[str, ...]
    label: int | None

    def image(self, root: Path, frame: str) -> Path:
        """Return where a frame's image lies."""
        return root / IMAGES / self.subject / self.number / f"{frame}.png"

    def landmarks(self, root: Path, frame: str) -> Path:
        """Return where a frame's landmarks lie."""
        return root / POINTS / self.subject / self.number / f"{frame}_landmarks.txt"


def list_sequences(root: Path) -> list[Sequence]:
    """List every sequence, people and sequences in the order of their names; hidden files are ignored.

    Raises:
        UserError: when a folder is missing or cannot be listed.
        FormatError: for a label that is no whole number from 0 to 7, or two labels for one sequence.
    """
    for needed in (IMAGES, EMOTIONS):
        if not (root / needed).is_dir():
            raise UserError(f"{root}: holds no folder {needed}; name the folder that holds {IMAGES}")
    found = []
    for subject in _names(root / IMAGES, _SUBJECT):
        for number in _names(root / IMAGES / subject, _SEQUENCE):
            frames = tuple(
                name.removesuffix(".png")
                for name in _names(root / IMAGES / subject / number, _FRAME)
                if name.startswith(f"{subject}_{number}_")
            )
            if frames:
                label = _label(root, root / EMOTIONS / subject / number)
                found.append(Sequence(subject, number, frames, label))
    return found


def read_landmarks(root: Path, path: Path) -> NDArray[np.float64]:
    """Read the landmarks of a frame: (68, 2) float64, x and y in pixels.

    Raises:
        FormatError: when the file cannot be read, or for anything but 68 lines of two finite numbers.
    """
    lines = [line.split() for line in _text(path, root).splitlines() if line.strip()]
    if len(lines) != LANDMARKS:
        raise FormatError(path, len(lines), f"{len(lines)} points instead of {LANDMARKS}; mend it", "line")
    points = np.empty((LANDMARKS, 2), dtype=np.float64)
    for index, words in enumerate(lines):
        try:
            x, y = map(float, words)
        except ValueError as error:
            raise FormatError(path, index + 1, "not two numbers x and y; mend it", "line") from error
        points[index] = x, y
    if not np.isfinite(points).all():
        raise FormatError(path, None, "a point that is not finite; mend it")
    return points


def write_sequence(
    root: Path,
    sequence: Sequence,
    images: SequenceOf[NDArray[np.uint8]],
    landmarks: SequenceOf[NDArray[np.float64]],
) -> None:
    """Write one sequence in the layout as published.

    Args:
        root: the folder to write into.
        sequence: names and label.
        images: (1, H, W) uint8 for each frame.
        landmarks: (68, 2) for each frame.
    """
    for top in (IMAGES, EMOTIONS, POINTS):
        (root / top / sequence.subject / sequence.number).mkdir(parents=True, exist_ok=True)
    for frame, image, points in zip(sequence.frames, images, landmarks, strict=True):
        Image.fromarray(image[0]).save(sequence.image(root, frame))
        lines = "".join(f"   {x:.7e}   {y:.7e}\n" for x, y in points.tolist())
        sequence.landmarks(root, frame).write_text(lines)
    if sequence.label is not None:
        name = f"{sequence.frames[-1]}_emotion.txt"
        path = root / EMOTIONS / sequence.subject / sequence.number / name
        path.write_text(f"   {sequence.label:.7e}\n")


def _label(root: Path, folder: Path) -> int | None:
    try:
        files = sorted(folder.glob("*_emotion.txt"))
    except OSError as error:
        raise UserError(f"{folder}: cannot be listed ({error.strerror}); check its permissions") from error
    files = [path for path in files if not path.name.startswith(".")]
    if not files:
        return None
    if len(files) > 1:
        raise FormatError(folder, None, f"{len(files)} labels for one sequence; remove all but one")
    text = _text(files[0], root).strip()
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if value not in range(8):
        raise FormatError(files[0], 1, f"label {text[:20]!r} is no whole number from 0 to 7; mend it", "line")
    return int(value)


def _names(folder: Path, pattern: re.Pattern[str]) -> list[str]:
    try:
        return sorted(entry.name for entry in folder.iterdir() if pattern.fullmatch(entry.name))
    except OSError as error:
        raise UserError(f"{folder}: cannot be listed ({error.strerror}); check its permissions") from error


def _text(path: Path, root: Path) -> str:
    return read_input(path, _MAX_BYTES, root).decode("ascii", errors="replace")
