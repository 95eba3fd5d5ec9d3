"""A person as a vector: z ~ N(0, I_24), mapped nonlinearly to the shape and colours of a face.

With a fixed random matrix A of unit rows and fixed random permutations s, t of the coordinates,

    y = A z + (A z)[s] * (A z)[t],    parameter = middle + spread * tanh(y),

so that every parameter depends on all of z, every pair of parameters is correlated as in real
faces, no parameter is linear in z, and none leaves a plausible range. Spreads follow the anthropometry
of Farkas, Katic and Forrest 2005 (International Anthropometric Study of Facial Morphology), widened.
"""

from typing import Any

import numpy as np

from fedpriv.data.synthetic.face_scene import MOLES, TEXTURE_WAVES, FacePerson, FloatArray
from fedpriv.seeding import generator

DIMENSIONS = 24

_RANGES: dict[str, tuple[float, float]] = {
    "half_width": (70.0, 6.5),
    "half_height": (114.0, 6.0),
    "depth": (94.0, 6.0),
    "jaw": (2.15, 0.55),
    "taper": (0.10, 0.09),
    "eye_x": (32.0, 4.0),
    "eye_y": (0.0, 5.0),
    "eye_half_width": (14.2, 2.2),
    "eye_opening": (5.0, 1.4),
    "eye_lower": (0.62, 0.14),
    "eye_tilt": (0.04, 0.13),
    "eye_peak": (0.08, 0.15),
    "iris_radius": (5.9, 0.35),
    "crease": (2.6, 1.5),
    "socket": (0.45, 0.30),
    "lashes": (0.60, 0.30),
    "brow_inner": (11.5, 4.5),
    "brow_length": (35.0, 5.0),
    "brow_height": (14.5, 3.0),
    "brow_thickness": (3.0, 1.4),
    "brow_slope": (0.06, 0.09),
    "brow_arch": (3.0, 3.0),
    "nose_y": (38.0, 6.0),
    "nose_height": (19.0, 5.0),
    "nose_width": (16.5, 4.5),
    "nose_bridge": (6.5, 2.2),
    "mouth_y": (69.0, 6.0),
    "mouth_half_width": (25.0, 4.5),
    "lip_upper": (5.0, 2.6),
    "lip_lower": (7.0, 3.0),
    "mouth_curve": (0.3, 1.6),
    "bow": (1.2, 1.0),
    "ear_radius": (28.0, 6.0),
    "ear_out": (7.0, 6.0),
    "ear_y": (14.0, 5.0),
    "hairline": (60.0, 16.0),
    "hair_round": (0.5, 0.5),
    "hair_side": (4.0, 26.0),
    "hair_part": (0.0, 0.25),
    "hair_volume": (10.0, 9.0),
    "hair_length": (40.0, 90.0),
    "beard": (-0.15, 0.50),
    "wrinkle": (0.60, 0.40),
    "fold": (0.10, 0.12),
    "skew": (0.0, 0.10),
}
"""Middle and spread of every parameter of shape, in its own unit."""
_TONES: dict[str, tuple[float, float]] = {
    "melanin": (0.38, 0.38),
    "redness": (0.0, 0.05),
    "hair_dark": (0.55, 0.45),
    "hair_warm": (0.5, 0.5),
    "iris_dark": (0.5, 0.5),
    "lip_red": (0.5, 0.4),
}
"""The same for what the colours are made of."""

_FAIR, _DARK = np.array([0.88, 0.68, 0.57]), np.array([0.40, 0.25, 0.17])
_BLUE, _BROWN = np.array([0.36, 0.46, 0.55]), np.array([0.22, 0.13, 0.08])


def identity_vector(seed: int, person: int) -> FloatArray:
    """Return z of person ``person``: (24,) standard normal."""
    return generator(seed, "synthetic_faces", "identity", person).standard_normal(DIMENSIONS)


def parameters(vector: FloatArray) -> dict[str, float]:
    """Map an identity vector (24,) to shape and tone by parameter name; the map is the same for all seeds."""
    ranges = {**_RANGES, **_TONES}
    random = generator(0, "synthetic_faces", "map from identity to parameters")
    rows = random.standard_normal((len(ranges), DIMENSIONS))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    first, second = random.permutation(len(ranges)), random.permutation(len(ranges))
    linear = rows @ vector
    mixed = np.tanh(linear + linear[first] * linear[second])
    return {
        name: float(middle + spread * value)
        for (name, (middle, spread)), value in zip(ranges.items(), mixed, strict=True)
    }


def _colours(tones: dict[str, float]) -> dict[str, FloatArray]:
    skin = _FAIR + (_DARK - _FAIR) * tones["melanin"] ** 0.8 + tones["redness"] * np.array([1.0, -0.3, -0.5])
    brightness = 0.05 + 0.45 * np.clip(tones["hair_dark"], 0.0, 1.0) ** 3
    hair = brightness * (1.0 + tones["hair_warm"] * np.array([0.30, -0.05, -0.35]))
    lips = skin * (np.array([0.86, 0.58, 0.56]) - 0.18 * tones["lip_red"] * np.array([0.2, 1.0, 0.8]))
    iris = _BLUE + (_BROWN - _BLUE) * tones["iris_dark"]
    colours = {"skin": skin, "lips": lips, "hair": hair, "brow": 0.18 * skin + 0.4 * hair, "iris": iris}
    return {name: colour.astype(np.float32) for name, colour in colours.items()}


def draw_person(seed: int, person: int) -> FacePerson:
    """Draw the constants of person ``person``, in colour; they depend on ``seed`` and ``person`` alone."""
    values = parameters(identity_vector(seed, person))
    colours = _colours({name: values.pop(name) for name in _TONES})
    random = generator(seed, "synthetic_faces", "texture", person)
    uniform = random.uniform
    texture = np.stack(
        [
            uniform(-0.16, 0.16, TEXTURE_WAVES),
            uniform(-0.16, 0.16, TEXTURE_WAVES),
            uniform(0, 2 * np.pi, TEXTURE_WAVES),
            uniform(0.008, 0.030, TEXTURE_WAVES),
        ],
        axis=1,
    )
    moles = np.stack(
        [
            uniform(-48, 48, MOLES),
            uniform(-30, 95, MOLES),
            uniform(0.8, 2.2, MOLES),
            uniform(0.2, 0.6, MOLES) * (random.random(MOLES) < 0.5),
        ],
        axis=1,
    )
    waves = np.stack([uniform(0.03, 0.16, 4), uniform(0, 2 * np.pi, 4), uniform(0.5, 4.0, 4)], axis=1)
    values["beard"] = max(values["beard"], 0.0)
    constants: dict[str, Any] = {**values, **colours, "texture": texture, "moles": moles, "hair_waves": waves}
    arrays = {
        name: value.astype(np.float32) for name, value in constants.items() if isinstance(value, np.ndarray)
    }
    return FacePerson(**{**constants, **arrays})
