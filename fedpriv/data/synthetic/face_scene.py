"""What a synthetic face is made of: a person's constants and one view's nuisances.

Lengths are millimetres, angles radians, albedos and brightness lie in [0, 1]. The head frame has
its origin between the ears at about eye level: x right, y down, z into the scene, so the face looks
towards -z and the person's left eye lies at +x. Colours have C channels: 3 (red, green, blue) or 1 (grey).
"""

from dataclasses import dataclass, fields, replace

import numpy as np

from fedpriv.types import AnyArray

FloatArray = AnyArray
"""float32 here throughout."""

TEXTURE_WAVES, MOLES, BACKGROUND_WAVES = 5, 6, 4
LUMINANCE = np.array([0.299, 0.587, 0.114], dtype=np.float32)
"""Weights of red, green and blue in grey (ITU-R BT.601)."""


@dataclass(frozen=True)
class FacePerson:
    """What never changes between two pictures of one face; each is a function of the identity vector.

    Attributes:
        half_width: radius of the head along x; ``half_height`` along y, ``depth`` along z.
        jaw: exponent of the outline below the eyes: 2 an ellipse, more a square jaw, less a pointed one.
        taper: share by which the outline narrows towards the chin.
        eye_x: from the middle to an eye's centre; ``eye_y`` of both.
        eye_half_width: from the middle of the lids to a corner.
        eye_opening: from the eye's centre up to the upper lid; the lower one is ``eye_lower`` of it.
        eye_tilt: slope of the line through the corners; positive: the outer corner lies higher.
        eye_peak: skew of the upper lid; positive: highest on the side of the nose.
        iris_radius: of the iris.
        crease: from the upper lid up to its crease.
        socket: depth of the eye socket.
        lashes: darkness of the lash line.
        brow_inner: from the middle to the brow's inner end; ``brow_length`` from there outwards.
        brow_height: from the eye's centre up to the brow's middle line.
        brow_thickness: half of it, at the inner end.
        brow_slope: positive: the outer end lies higher.
        brow_arch: height of the arch between the ends.
        nose_y: of the tip; ``nose_height`` is how far the tip stands out of the head.
        nose_width: half, at the wings; ``nose_bridge`` half, between the eyes.
        mouth_y: of the mouth's middle; ``mouth_half_width`` from there to a corner.
        lip_upper: thickness of the upper lip, ``lip_lower`` of the lower one.
        mouth_curve: by how much the corners lie above the middle at rest.
        bow: depth of the cupid's bow.
        ear_radius: half the height of an ear; it stands out by ``ear_out``.
        ear_y: of its middle.
        hairline: from eye level up to the hair; ``hair_round`` lowers it towards the temples.
        hair_side: height of the hair at the sides of the head, positive: below eye level.
        hair_part: slope of the hairline.
        hair_volume: by how much the hair stands out of the head.
        hair_length: y of its lower end behind the head.
        hair_waves: (4, 3) frequency, phase, amplitude of the hairline.
        beard: darkness of the beard, 0 for none.
        wrinkle: depth of the folds that expressions show.
        fold: depth of the nasolabial folds at rest.
        skew: relative difference between the left and right brow and mouth corner.
        skin: (C,) albedo; so are ``lips``, ``hair``, ``brow`` and ``iris``.
        texture: (5, 4) waves of the skin: x and y frequency (1/mm), phase, amplitude.
        moles: (6, 4) x, y, radius, darkness.
    """

    half_width: float
    half_height: float
    depth: float
    jaw: float
    taper: float
    eye_x: float
    eye_y: float
    eye_half_width: float
    eye_opening: float
    eye_lower: float
    eye_tilt: float
    eye_peak: float
    iris_radius: float
    crease: float
    socket: float
    lashes: float
    brow_inner: float
    brow_length: float
    brow_height: float
    brow_thickness: float
    brow_slope: float
    brow_arch: float
    nose_y: float
    nose_height: float
    nose_width: float
    nose_bridge: float
    mouth_y: float
    mouth_half_width: float
    lip_upper: float
    lip_lower: float
    mouth_curve: float
    bow: float
    ear_radius: float
    ear_out: float
    ear_y: float
    hairline: float
    hair_round: float
    hair_side: float
    hair_part: float
    hair_volume: float
    hair_length: float
    hair_waves: FloatArray
    beard: float
    wrinkle: float
    fold: float
    skew: float
    skin: FloatArray
    lips: FloatArray
    hair: FloatArray
    brow: FloatArray
    iris: FloatArray
    texture: FloatArray
    moles: FloatArray


@dataclass(frozen=True)
class FaceViews:
    """What differs from picture to picture: float32 arrays whose first axis is the picture (B).

    Attributes:
        yaw: of the head; positive: the nose turns towards -x.
        pitch: of the head; positive: the nose turns up.
        roll: of the head; positive: clockwise in the picture.
        shift_x: of the crop as a share of the picture's side, like ``shift_y``.
        zoom: factor of the crop's scale.
        tilt: of the crop, added to the roll.
        units: (B, len(UNITS)) intensities of the action units, see :mod:`face_actions`.
        imbalance: relative difference between the left and the right of an expression.
        gaze_x: of the irises, in mm on the eye; so ``gaze_y``.
        squint: factor of the lid opening.
        light_x: the light comes from (light_x, light_y, -1), as does ``light_y``.
        ambient: share of the light that has no direction.
        fill: brightness of a second light from the opposite side, relative to the first.
        light: (B, C) colour of the light.
        complexion: (B, C) factor of the skin's albedo: make-up, tan, flush.
        hair_tone: (B,) factor of the hair's albedo.
        hair_phase: of the hairline's waves: hair is combed anew for every picture.
        hair_lift: added to the height of the hairline.
        stubble: added to the beard.
        glasses: 1 where glasses are worn, else 0; so ``hat``, ``occluder``.
        rim_width: half, of a lens; so ``rim_height``; ``rim_thickness`` in full.
        rim_y: of the lenses below the eyes.
        tint: opacity of the lenses.
        rim: (B, C) albedo.
        hat_y: from eye level up to the brim.
        hat_tone: (B, C) albedo.
        occluder_angle: direction from the middle of the face to what hides a part of it.
        occluder_reach: how far away its straight edge lies, in mm.
        occluder_tone: (B, C) albedo.
        ground: (B, 2, C) two colours of the background.
        ground_waves: (B, 4, 4) its x and y frequency (1/mm), phase, amplitude.
        cloth: (B, C) albedo of the clothes.
        exposure: mean brightness that the camera aims at, before gamma.
        balance: (B, C) gain of the sensor in each channel.
        gamma: of the sensor.
        blur: weight of each neighbour in a three-tap kernel, at most 1/3.
        noise: standard deviation of the sensor's noise.
        quantum: step of the compression's coefficients, 0 for none.
        grain: (B, C, H, W) standard normal noise of every pixel.
    """

    yaw: FloatArray
    pitch: FloatArray
    roll: FloatArray
    shift_x: FloatArray
    shift_y: FloatArray
    zoom: FloatArray
    tilt: FloatArray
    units: FloatArray
    imbalance: FloatArray
    gaze_x: FloatArray
    gaze_y: FloatArray
    squint: FloatArray
    light_x: FloatArray
    light_y: FloatArray
    ambient: FloatArray
    fill: FloatArray
    light: FloatArray
    complexion: FloatArray
    hair_tone: FloatArray
    hair_phase: FloatArray
    hair_lift: FloatArray
    stubble: FloatArray
    glasses: FloatArray
    rim_width: FloatArray
    rim_height: FloatArray
    rim_thickness: FloatArray
    rim_y: FloatArray
    tint: FloatArray
    rim: FloatArray
    hat: FloatArray
    hat_y: FloatArray
    hat_tone: FloatArray
    occluder: FloatArray
    occluder_angle: FloatArray
    occluder_reach: FloatArray
    occluder_tone: FloatArray
    ground: FloatArray
    ground_waves: FloatArray
    cloth: FloatArray
    exposure: FloatArray
    balance: FloatArray
    gamma: FloatArray
    blur: FloatArray
    noise: FloatArray
    quantum: FloatArray
    grain: FloatArray

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self.yaw)

    def part(self, start: int, stop: int) -> "FaceViews":
        """Return the views ``start`` to ``stop - 1``."""
        return FaceViews(**{item.name: getattr(self, item.name)[start:stop] for item in fields(self)})


_PERSON_COLOURS = ("skin", "lips", "hair", "brow", "iris")
_VIEW_COLOURS = ("light", "complexion", "rim", "hat_tone", "occluder_tone", "ground", "cloth", "balance")


def grey_person(person: FacePerson) -> FacePerson:
    """Return the person in grey: every colour is its luminance (BT.601), C = 1."""
    return replace(person, **{name: getattr(person, name) @ LUMINANCE[:, None] for name in _PERSON_COLOURS})


def grey_views(views: FaceViews) -> FaceViews:
    """Return the views in grey: every colour is its luminance, C = 1; ``grain`` keeps its channels."""
    return replace(views, **{name: getattr(views, name) @ LUMINANCE[:, None] for name in _VIEW_COLOURS})
