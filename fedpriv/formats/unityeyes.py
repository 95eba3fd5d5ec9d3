"""UnityEyes' rendered eyes: pairs ``<name>.jpg`` and ``<name>.json`` in one folder.

The JSON holds points and vectors as text, "(x, y, z)"::

    interior_margin_2d   16 points on the rim of the lids, [8] at the outer corner
    caruncle_2d          7 points at the inner corner
    iris_2d              32 points on the limbus
    eye_details          {"look_vec": "(x, y, z, 0)", "pupil_size", "iris_size", "iris_texture"}
    head_pose            "(pitch, yaw, roll)" in degrees

Points are pixels with y UP from the bottom edge. ``look_vec`` has x right, y up and z into the scene,
so z < 0 for an eye that looks towards the camera. All this is how the authors' visualize.py and
GazeML's loader read it. The eye is a left one: its inner corner is on the left of the picture.

Source: Wood et al. 2016, "Learning an appearance-based gaze estimator from one million synthesised
images" (doi 10.1145/2857491.2857492).
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedpriv.errors import FormatError
from fedpriv.formats.crop import Box
from fedpriv.formats.files import atomic_output
from fedpriv.formats.json_file import numbers, read_json

MAX_JSON_BYTES = 2**20
OUTER_CORNER = 8
EYE_MARGIN = 1.5
"""Width of the crop over the distance between the corners of the eye (GazeML)."""
_NUMBER = r"[-+]?[0-9]{1,9}(?:\.[0-9]{1,12})?(?:[eE][-+]?[0-9]{1,2})?"
_TUPLE = re.compile(rf"\(\s*{_NUMBER}(?:\s*,\s*{_NUMBER}){{2,3}}\s*\)")
_LENGTH = {"interior_margin_2d": 16, "caruncle_2d": 7, "iris_2d": 32}


@dataclass(frozen=True)
class EyeLabel:
    """What a JSON file says; points are (x, y) in pixels, y UP from the bottom edge.

    Attributes:
        look: (3,) float64, look_vec without its last number.
        interior_margin: (16, 2) float64.
        caruncle: (7, 2) float64.
        iris: (32, 2) float64.
    """

    look: NDArray[np.float64]
    interior_margin: NDArray[np.float64]
    caruncle: NDArray[np.float64]
    iris: NDArray[np.float64]


def list_eyes(root: Path) -> tuple[Path, ...]:
    """Return the JSON files in ``root`` that have a picture beside them, in natural order."""
    found = [path for path in root.glob("*.json") if path.with_suffix(".jpg").is_file()]
    return tuple(sorted(found, key=lambda path: (len(path.stem), path.stem)))


def read_label(path: Path, root: Path) -> EyeLabel:
    """Read one JSON file.

    Raises:
        FormatError: naming the file and the field that is not as the module says.
    """
    content = read_json(path, root, MAX_JSON_BYTES)
    details = content.get("eye_details")
    if not isinstance(details, dict):
        raise FormatError(path, None, "eye_details: is missing")
    look = _vector(path, "eye_details.look_vec", details.get("look_vec"))
    if not 0.9 < np.linalg.norm(look) < 1.1:
        raise FormatError(path, None, f"eye_details.look_vec: {details['look_vec']!r} is no unit vector")
    points = {}
    for field, length in _LENGTH.items():
        values = content.get(field)
        if not isinstance(values, list) or len(values) != length:
            raise FormatError(path, None, f"{field}: need {length} points")
        points[field] = np.stack([_vector(path, field, value)[:2] for value in values])
    return EyeLabel(look, points["interior_margin_2d"], points["caruncle_2d"], points["iris_2d"])


def _vector(path: Path, field: str, text: Any) -> NDArray[np.float64]:
    if not isinstance(text, str) or len(text) > 200 or _TUPLE.fullmatch(text.strip()) is None:
        raise FormatError(path, None, f"{field}: {str(text)[:60]!r}, need text like '(0.1, -0.2, -0.9)'")
    values = [float(part) for part in text.strip()[1:-1].split(",")]
    return numbers(path, field, values[:3], (3,))


def eye_box(label: EyeLabel, picture_height: int, height: int, width: int) -> Box:
    """Return the box around the eye, of the aspect height : width.

    It is 1.5 times as wide as the corners are apart and centred on the lids' rim (GazeML's
    UnityEyes loader).

    Args:
        label: of the picture.
        picture_height: in pixels, to turn y round.
        height: of the result, for its aspect.
        width: of the result.
    """
    inner = label.caruncle.mean(axis=0)
    outer = label.interior_margin[OUTER_CORNER]
    across = EYE_MARGIN * abs(float(inner[0] - outer[0]))
    x, y = (label.interior_margin.min(axis=0) + label.interior_margin.max(axis=0)) / 2
    down = across * height / width
    return float(x) - across / 2, picture_height - float(y) - down / 2, across, down


def write_label(path: Path, label: EyeLabel) -> None:
    """Write one JSON file; what no reader here uses is written as constants."""

    def text(*values: float) -> str:
        return "(" + ", ".join(f"{value:.6f}" for value in values) + ")"

    content = {
        "interior_margin_2d": [text(x, y, 9.0) for x, y in label.interior_margin],
        "caruncle_2d": [text(x, y, 9.0) for x, y in label.caruncle],
        "iris_2d": [text(x, y, 9.0) for x, y in label.iris],
        "eye_details": {
            "look_vec": text(*label.look, 0.0),
            "pupil_size": "0.0",
            "iris_size": "0.9",
            "iris_texture": "eyeball_brown",
        },
        "lighting_details": {},
        "eye_region_details": {},
        "head_pose": "(0.0, 180.0, 0.0)",
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_output(path) as file:
        file.write(json.dumps(content).encode())
