"""From which distributions the views of a synthetic face are drawn: everything but who it is.

Two data sets ask for views: portraits, whose heads turn and whose light, accessories and backgrounds vary
widely, as in Bae et al. 2023 (DigiFace-1M, arXiv 2210.02579), and expressions, whose heads turn less.
Nothing here knows the person.
"""

from dataclasses import dataclass

import numpy as np

from fedpriv.data.synthetic.face_actions import EMOTION_UNITS, draw_units
from fedpriv.data.synthetic.face_scene import BACKGROUND_WAVES, FaceViews, FloatArray
from fedpriv.seeding import generator


@dataclass(frozen=True)
class ViewPrior:
    """How widely views vary.

    Attributes:
        turn: factor of the head's yaw, pitch and roll.
        crop: factor of the crop's shift, zoom and tilt.
        glasses: probability of glasses; so ``hat`` and ``occluder``.
        light: factor of the light's slopes.
        sensor: factor of blur, noise and compression.
        neutral: probability that a portrait shows no expression.
    """

    turn: float
    crop: float
    glasses: float
    hat: float
    occluder: float
    light: float
    sensor: float
    neutral: float = 0.5


PORTRAITS = ViewPrior(turn=0.8, crop=0.7, glasses=0.15, hat=0.10, occluder=0.06, light=0.8, sensor=0.8)
EXPRESSIONS = ViewPrior(turn=0.45, crop=1.0, glasses=0.10, hat=0.04, occluder=0.03, light=0.6, sensor=0.5)
CLOSE_EYES = ViewPrior(turn=0.5, crop=1.0, glasses=0.10, hat=0.0, occluder=0.0, light=0.6, sensor=0.5)


def _draw(random: np.random.Generator, prior: ViewPrior) -> dict[str, FloatArray | float]:
    """Draw one view, without expression and grain."""
    uniform = random.uniform

    def normal(spread: float) -> float:
        return float(np.clip(random.normal(0.0, spread), -2.5 * spread, 2.5 * spread))

    def tint(spread: float) -> FloatArray:
        return 1.0 + spread * np.clip(random.standard_normal(3), -2.0, 2.0)

    clothes = uniform(0.05, 0.8) * tint(0.3)
    from_below = random.random() < 1 / 3
    return {
        "yaw": prior.turn * normal(0.22),
        "pitch": prior.turn * normal(0.13),
        "roll": prior.turn * normal(0.12),
        "shift_x": prior.crop * normal(0.018),
        "shift_y": prior.crop * normal(0.018),
        "zoom": float(np.exp(prior.crop * normal(0.04))),
        "tilt": prior.crop * normal(0.03),
        "imbalance": normal(0.12),
        "gaze_x": normal(1.8),
        "gaze_y": normal(0.8),
        "squint": uniform(0.78, 1.12),
        "light_x": prior.light * normal(0.9),
        "light_y": prior.light * normal(0.5) - 0.35,
        "ambient": uniform(0.25, 0.65),
        "fill": uniform(0.0, 0.6),
        "light": tint(0.05),
        "complexion": tint(0.05),
        "hair_tone": uniform(0.6, 1.7),
        "hair_phase": uniform(0.0, 2.0),
        "hair_lift": normal(4.0),
        "stubble": max(normal(0.15), 0.0),
        "glasses": float(random.random() < prior.glasses),
        "rim_width": uniform(20.0, 26.0),
        "rim_height": uniform(14.0, 21.0),
        "rim_thickness": uniform(1.2, 4.0),
        "rim_y": uniform(0.0, 6.0),
        "tint": uniform(0.0, 0.25),
        "rim": uniform(0.02, 0.5) * tint(0.25),
        "hat": float(random.random() < prior.hat),
        "hat_y": uniform(38.0, 60.0),
        "hat_tone": uniform(0.05, 0.8) * tint(0.35),
        "occluder": float(random.random() < prior.occluder),
        "occluder_angle": (0.5 if from_below else float(random.integers(2))) * np.pi + normal(0.3),
        "occluder_reach": uniform(45.0, 80.0) if from_below else 52.0,
        "occluder_tone": uniform(0.1, 0.8) * tint(0.3),
        "ground": uniform(0.05, 0.9, (2, 1)) * np.stack([tint(0.25), tint(0.25)]),
        "ground_waves": np.stack(
            [
                uniform(-0.12, 0.12, BACKGROUND_WAVES),
                uniform(-0.12, 0.12, BACKGROUND_WAVES),
                uniform(0, 2 * np.pi, BACKGROUND_WAVES),
                uniform(0.0, 0.35, BACKGROUND_WAVES),
            ],
            axis=1,
        ),
        "cloth": clothes,
        "exposure": uniform(0.26, 0.50),
        "balance": tint(0.05),
        "gamma": uniform(0.75, 1.2),
        "blur": prior.sensor * uniform(0.0, 0.22),
        "noise": prior.sensor * uniform(0.004, 0.022),
        "quantum": prior.sensor * max(uniform(-0.01, 0.02), 0.0),
    }


def draw_views(
    prior: ViewPrior,
    emotions: list[int | None],
    grain_shape: tuple[int, int, int],
    seed: int,
    *purpose: str | int,
) -> FaceViews:
    """Draw one view for each of ``emotions``; view i depends on ``seed``, ``purpose``, i and emotion i alone.

    Args:
        prior: how widely they vary.
        emotions: class of each view, index into ``EMOTION_UNITS``; None: a portrait, which shows
            nothing with probability ``prior.neutral`` and else any class.
        grain_shape: (C, H, W) of the sensor.
        seed: of the data set.
        purpose: names the stream of this person's views.
    """
    neutral = len(EMOTION_UNITS) - 1
    rows: list[dict[str, FloatArray | float]] = []
    grain = np.empty((len(emotions), *grain_shape), dtype=np.float32)
    for index, emotion in enumerate(emotions):
        random = generator(seed, *purpose, index)
        row = _draw(random, prior)
        shown = neutral if random.random() < prior.neutral else int(random.integers(neutral))
        row["units"] = draw_units(shown if emotion is None else emotion, random)
        rows.append(row)
        grain[index] = random.standard_normal(grain_shape, dtype=np.float32)
    arrays = {name: np.array([row[name] for row in rows], dtype=np.float32) for name in rows[0]}
    return FaceViews(**arrays, grain=grain)
