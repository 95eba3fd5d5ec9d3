"""From which distributions people and views are drawn: the priors of the synthetic eyes.

What varies follows Wood et al. 2015 (SynthesEyes, arXiv 1505.05916: light and shape matter most)
and Kim et al. 2019 (NVGaze, doi 10.1145/3290605.3300780); kappa follows Guestrin and Eizenman 2006
(doi 10.1109/TBME.2005.863952): the visual axis lies about 5 degrees towards the nose and 1.5
degrees above the optical axis. Each person has an own middle of gaze and of light, so that clients
that hold different people hold differently distributed data.
"""

import numpy as np
from numpy.typing import NDArray

from fedpriv.data.synthetic.eye_scene import HEIGHT, TEXTURE_WAVES, WIDTH, EyePerson, EyeViews
from fedpriv.seeding import generator

PITCH_RANGE = (-0.50, 0.35)
YAW_RANGE = (-0.60, 0.60)
"""Radians; no label lies outside."""
_UNIFORMS, _NORMALS = 16, 10


def draw_person(seed: int, person: int) -> EyePerson:
    """Draw the constants of person ``person``; they depend on ``seed`` and ``person`` alone."""
    random = generator(seed, "synthetic_eyes", "person", person)
    uniform, normal = random.uniform, random.normal
    skin = uniform(0.30, 0.80)
    texture = np.stack(
        [
            uniform(-0.9, 0.9, TEXTURE_WAVES),
            uniform(-0.9, 0.9, TEXTURE_WAVES),
            uniform(0, 2 * np.pi, TEXTURE_WAVES),
            uniform(0.006, 0.022, TEXTURE_WAVES),
        ],
        axis=1,
    )
    return EyePerson(
        nose=-1.0,
        eyeball_radius=float(np.clip(normal(12.0, 0.35), 11.0, 13.0)),
        iris_radius=float(np.clip(normal(5.9, 0.25), 5.2, 6.6)),
        kappa_pitch=float(np.deg2rad(normal(1.3, 0.6))),
        kappa_yaw=float(np.deg2rad(normal(5.0, 1.2))),
        gaze_pitch=float(np.deg2rad(normal(-5.0, 3.0))),
        gaze_yaw=float(np.deg2rad(normal(0.0, 5.0))),
        light_x=normal(0.0, 0.5),
        light_y=normal(-0.5, 0.25),
        skin=skin,
        iris=uniform(0.10, 0.42),
        sclera=uniform(0.74, 0.92),
        brow=uniform(0.08, 0.30) * (0.6 + 0.6 * skin),
        iris_fibres=uniform(0.05, 0.25),
        fibre_phase=uniform(0, 2 * np.pi),
        lid_half_width=uniform(12.2, 14.6),
        lid_opening=uniform(4.4, 6.4),
        lid_lower=uniform(0.50, 0.75),
        lid_tilt=normal(0.0, 0.05),
        lid_peak=uniform(-0.05, 0.25),
        crease=uniform(1.2, 3.4),
        crease_depth=uniform(0.10, 0.40),
        lashes=uniform(0.25, 0.85),
        brow_height=uniform(8.5, 13.5),
        brow_slope=normal(0.0, 0.10),
        socket=uniform(0.05, 0.35),
        glasses=0.75 if random.random() < 0.3 else 0.03,
        rim=uniform(0.02, 0.35),
        rim_width=uniform(15.5, 20.0),
        rim_height=uniform(9.0, 13.0),
        rim_thickness=uniform(0.5, 1.5),
        texture=texture.astype(np.float32),
    )


def draw_views(person: EyePerson, seed: int, person_index: int, count: int) -> EyeViews:
    """Draw ``count`` views; view i depends on ``seed``, the person and i alone, never on ``count``."""
    u = np.empty((count, _UNIFORMS))
    z = np.empty((count, _NORMALS))
    grain = np.empty((count, HEIGHT, WIDTH), dtype=np.float32)
    for index in range(count):
        random = generator(seed, "synthetic_eyes", "view", person_index, index)
        u[index] = random.random(_UNIFORMS)
        z[index] = random.standard_normal(_NORMALS)
        grain[index] = random.standard_normal((HEIGHT, WIDTH), dtype=np.float32)
    z = np.clip(z, -3.0, 3.0)

    def between(column: int, low: float, high: float) -> NDArray[np.float64]:
        return low + (high - low) * u[:, column]

    half_pitch, half_yaw = np.deg2rad(14.0), np.deg2rad(22.0)
    arrays = {
        "pitch": np.clip(person.gaze_pitch + half_pitch * (2 * u[:, 0] - 1), *PITCH_RANGE),
        "yaw": np.clip(person.gaze_yaw + half_yaw * (2 * u[:, 1] - 1), *YAW_RANGE),
        "shift_x": 2.6 * z[:, 0],
        "shift_y": 2.2 * z[:, 1],
        "scale": between(2, 0.85, 1.2),
        "light_x": person.light_x + 0.5 * z[:, 2],
        "light_y": person.light_y + 0.3 * z[:, 3],
        "ambient": between(3, 0.25, 0.65),
        "squint": between(4, 0.70, 1.10),
        "tilt": 0.025 * z[:, 4],
        "pupil": between(5, 1.2, 3.2),
        "glint": between(6, 0.0, 1.0),
        "glint_radius": between(7, 0.45, 0.95),
        "glasses": u[:, 8] < person.glasses,
        "glasses_x": 1.0 * z[:, 5],
        "glasses_y": 1.0 + 1.2 * z[:, 6],
        "reflection": between(9, 0.0, 0.35) * (u[:, 10] < 0.5),
        "gain": between(11, 0.8, 1.3),
        "gamma": between(12, 0.75, 1.25),
        "blur": between(13, 0.0, 0.2),
        "noise": between(14, 0.004, 0.024),
    }
    return EyeViews(**{name: value.astype(np.float32) for name, value in arrays.items()}, grain=grain)
