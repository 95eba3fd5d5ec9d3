"""The looking-glass: a person and views whose pictures are the mirror images of the originals'."""

from dataclasses import replace

import numpy as np

from fedpriv.data.synthetic.face_scene import FacePerson, FaceViews


def mirror_person(person: FacePerson) -> FacePerson:
    """Return the person in the looking-glass: every x turns round."""
    turned = np.array([-1, 1, 1, 1], dtype=np.float32)
    return replace(
        person,
        skew=-person.skew,
        hair_part=-person.hair_part,
        hair_waves=person.hair_waves * np.array([-1, 1, 1], dtype=np.float32),
        texture=person.texture * turned,
        moles=person.moles * turned,
    )


def mirror_views(views: FaceViews) -> FaceViews:
    """Return the views of the mirrored scene: x positions, yaw, roll and tilts change sign."""
    turned = (
        "yaw",
        "roll",
        "shift_x",
        "tilt",
        "imbalance",
        "gaze_x",
        "light_x",
    )
    return replace(
        views,
        **{name: -getattr(views, name) for name in turned},
        occluder_angle=np.float32(np.pi) - views.occluder_angle,
        ground_waves=views.ground_waves * np.array([-1, 1, 1, 1], dtype=np.float32),
        grain=views.grain[..., ::-1],
    )
