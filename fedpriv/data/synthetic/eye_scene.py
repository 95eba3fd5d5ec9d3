"""What a synthetic eye picture is made of: a person's constants and one view's nuisances.

Lengths are millimetres, angles radians, albedos and brightness lie in [0, 1]. Camera axes as in
MPIIGaze: x right, y down, z into the scene. Every eye is a left eye (the nose lies towards -x),
as MPIIGaze mirrors right eyes; :func:`mirror_person` and :func:`mirror_views` make the right one.
"""

from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

HEIGHT, WIDTH = 36, 60
TEXTURE_WAVES = 8

FloatArray = NDArray[np.floating]
"""float32 here throughout."""


@dataclass(frozen=True)
class EyePerson:
    """What never changes between two pictures of one eye.

    Attributes:
        eyeball_radius: R, of the sphere.
        iris_radius: of the limbus, the rim of the iris.
        nose: -1 where the nose lies towards -x (a left eye), +1 for a right eye.
        kappa_pitch: visual minus optical axis; positive: the visual axis points higher.
        kappa_yaw: visual minus optical axis; positive: the visual axis points towards -x.
        gaze_pitch: middle of this person's gaze directions, like ``gaze_yaw``.
        light_x: middle of the slope of this person's light, like ``light_y``.
        skin: albedo, like ``iris``, ``sclera``, ``brow``.
        iris_fibres: relative depth of the radial pattern of the iris.
        fibre_phase: of that pattern.
        lid_half_width: from the middle of the lids to a corner.
        lid_opening: from the eye's centre up to the upper lid, looking straight.
        lid_lower: the lower lid's opening as a share of ``lid_opening``.
        lid_tilt: slope of the line through the corners.
        lid_peak: skew of the upper lid; positive: highest on the side of the nose.
        crease: from the upper lid to its crease.
        crease_depth: contrast of the crease.
        lashes: contrast of the lashes.
        brow_height: from the eye's centre up to the brow's lower edge.
        brow_slope: of the brow.
        socket: darkness between the eye and the nose.
        glasses: probability that a picture shows glasses.
        rim: albedo of the rim of the glasses, whose other constants are
            ``rim_width`` (half), ``rim_height`` (half) and ``rim_thickness``.
        texture: (TEXTURE_WAVES, 4) waves of the skin: x frequency, y frequency (1/mm), phase,
            amplitude.
    """

    nose: float
    eyeball_radius: float
    iris_radius: float
    kappa_pitch: float
    kappa_yaw: float
    gaze_pitch: float
    gaze_yaw: float
    light_x: float
    light_y: float
    skin: float
    iris: float
    sclera: float
    brow: float
    iris_fibres: float
    fibre_phase: float
    lid_half_width: float
    lid_opening: float
    lid_lower: float
    lid_tilt: float
    lid_peak: float
    crease: float
    crease_depth: float
    lashes: float
    brow_height: float
    brow_slope: float
    socket: float
    glasses: float
    rim: float
    rim_width: float
    rim_height: float
    rim_thickness: float
    texture: FloatArray


@dataclass(frozen=True)
class EyeViews:
    """What differs from picture to picture: float32 arrays of shape (B,), ``grain`` (B, 36, 60).

    Attributes:
        pitch: of the visual axis: the label, like ``yaw``.
        shift_x: of the eye's centre from the picture's centre, in pixels, like ``shift_y``.
        scale: magnification, 1 at 1.55 pixels per mm.
        light_x: the light comes from (light_x, light_y, -1), like ``light_y``.
        ambient: share of the light that has no direction.
        squint: factor of the lid opening.
        tilt: added to the slope of the lids.
        pupil: radius of the pupil.
        glint: brightness of the corneal reflection.
        glint_radius: its size.
        glasses: 1 where glasses are worn, else 0.
        glasses_x: their centre, like ``glasses_y``.
        reflection: brightness of the streak on the lenses.
        gain: of the sensor.
        gamma: of the sensor.
        blur: weight of each neighbour in a three-tap kernel, at most 1/3.
        noise: standard deviation of the sensor's noise.
        grain: standard normal noise of every pixel.
    """

    pitch: FloatArray
    yaw: FloatArray
    shift_x: FloatArray
    shift_y: FloatArray
    scale: FloatArray
    light_x: FloatArray
    light_y: FloatArray
    ambient: FloatArray
    squint: FloatArray
    tilt: FloatArray
    pupil: FloatArray
    glint: FloatArray
    glint_radius: FloatArray
    glasses: FloatArray
    glasses_x: FloatArray
    glasses_y: FloatArray
    reflection: FloatArray
    gain: FloatArray
    gamma: FloatArray
    blur: FloatArray
    noise: FloatArray
    grain: FloatArray

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self.pitch)

    def part(self, start: int, stop: int) -> "EyeViews":
        """Return the views ``start`` to ``stop - 1``."""
        return EyeViews(**{item.name: getattr(self, item.name)[start:stop] for item in fields(self)})


def mirror_person(person: EyePerson) -> EyePerson:
    """Return the other eye of a perfectly symmetrical face: every x turns round."""
    texture = person.texture * np.array([-1, 1, 1, 1], dtype=np.float32)
    return replace(
        person,
        nose=-person.nose,
        fibre_phase=-person.fibre_phase,
        kappa_yaw=-person.kappa_yaw,
        gaze_yaw=-person.gaze_yaw,
        light_x=-person.light_x,
        lid_tilt=-person.lid_tilt,
        brow_slope=-person.brow_slope,
        texture=texture,
    )


def mirror_views(views: EyeViews) -> EyeViews:
    """Return the views of the mirrored scene: x positions, slopes and yaw change sign."""
    return replace(
        views,
        yaw=-views.yaw,
        shift_x=-views.shift_x,
        light_x=-views.light_x,
        tilt=-views.tilt,
        glasses_x=-views.glasses_x,
        grain=views.grain[:, :, ::-1],
    )
