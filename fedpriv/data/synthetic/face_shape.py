"""How action units bend the curves of a face: brows, lids and mouth in the head frame.

Both halves of a face share their curves as functions of |x|; what differs between the halves
(asymmetry of the person and of the expression) is multiplied by 1 + s sign(x).
"""

from dataclasses import dataclass

import numpy as np

from fedpriv.data.synthetic.face_actions import unit
from fedpriv.data.synthetic.face_geometry import Rays, column
from fedpriv.data.synthetic.face_relief import BELL_END, BELL_REACH
from fedpriv.data.synthetic.face_scene import FacePerson, FaceViews, FloatArray


@dataclass(frozen=True)
class Eyes:
    """Both eyes, (B, h, w) each.

    Attributes:
        rows: of the picture: those that ``rays`` and all others are of. Beyond them no eye is seen.
        rays: what their pixels meet.
        outward: mm from an eye's centre towards the temple.
        across: the same in units of the lids' half-width.
        arch: (1 - across^2), not below 0.
        line: y of the line through the corners.
        upper: y of the upper lid's edge; so ``lower``.
    """

    rows: slice
    rays: Rays
    outward: FloatArray
    across: FloatArray
    arch: FloatArray
    line: FloatArray
    upper: FloatArray
    lower: FloatArray


def eyes(person: FacePerson, views: FaceViews, rays: Rays) -> Eyes:
    """Place the lids: AU5 opens the eye, AU7, AU6 and AU9 lift the lower lid, AU7 and AU4 lower the upper."""
    tightened, cheek, wrinkled = (unit(views.units, name) for name in ("AU7", "AU6", "AU9"))
    squint = column(views.squint)
    opened = 1.0 + 0.60 * unit(views.units, "AU5") - 0.28 * tightened - 0.15 * cheek - 0.22 * wrinkled
    opened = opened - 0.10 * unit(views.units, "AU4")
    up = np.maximum(person.eye_opening * squint * opened, 0.9)
    lifted = 1.0 - 0.45 * tightened - 0.60 * cheek - 0.50 * wrinkled + 0.15 * unit(views.units, "AU5")
    low = np.maximum(person.eye_opening * person.eye_lower * squint * lifted, 0.5)
    # the widest of what is drawn about eyes: folds at the line through their corners, lashes, crease and bag
    folds = 3.2 * person.eye_half_width * abs(person.eye_tilt) + BELL_REACH * 7.0 + 2.1
    lids = max(up.max(), low.max()) * (1.0 + abs(person.eye_peak)) + 2.0 * abs(person.crease)
    reach = max(folds, person.eye_half_width * abs(person.eye_tilt) + float(lids) + 1.05 * BELL_END)
    rows = rays.rows(person.eye_y - reach, person.eye_y + reach)
    rays = rays.part(rows)
    outward = np.abs(rays.x)
    outward -= np.float32(person.eye_x)
    across = outward * np.float32(1.0 / person.eye_half_width)
    arch = np.maximum(1.0 - across * across, 0.0)
    line = np.float32(person.eye_y) - outward * np.float32(person.eye_tilt)
    skewed = arch * (1.0 - np.float32(person.eye_peak) * across)
    return Eyes(rows, rays, outward, across, arch, line, line - up * skewed, line + low * arch)


def brow_rows(person: FacePerson, views: FaceViews, rays: Rays) -> slice:
    """Return the rows that brows can reach: more than they do."""
    sides = 1.0 + float(np.abs(views.imbalance).max()) + abs(person.skew)
    raised = 8.5 * (unit(views.units, "AU1") + unit(views.units, "AU2")).max() * sides
    lowered = (7.5 * unit(views.units, "AU4") + 4.5 * unit(views.units, "AU9")).max() * sides
    bend = abs(person.brow_slope * person.brow_length) + abs(person.brow_arch)
    bend += 0.35 * abs(person.skew) * (abs(person.brow_height) + bend)
    bend += 1.05 * person.brow_thickness + 0.5 + 0.3 / min(1.2, float(rays.sharpness.min()))
    middle = person.eye_y - person.brow_height
    return rays.rows(middle - bend - float(raised), middle + bend + float(lowered))


def brow(person: FacePerson, views: FaceViews, rays: Rays) -> tuple[FloatArray, FloatArray]:
    """Return the position along the brow (0 inner, 1 outer end) and the y of its middle line.

    AU1 raises the inner end by 8 mm, AU2 the outer one by 8 mm, AU4 lowers the brow by 7 mm and draws
    it together by 4 mm, AU9 lowers its inner end by 4 mm.
    """
    drawn = unit(views.units, "AU4")
    along = np.abs(rays.x)
    along -= np.float32(person.brow_inner) - 4.0 * drawn
    along *= np.float32(1.0 / person.brow_length)
    inner = np.clip(1.0 - along, 0.0, 1.2)
    outer = np.clip(along, -0.2, 1.0)
    side = 1.0 + np.sign(rays.x) * (column(views.imbalance) + np.float32(person.skew))
    raised = 8.0 * unit(views.units, "AU1") * inner * np.sqrt(inner)
    raised = raised + 8.0 * unit(views.units, "AU2") * outer
    raised -= (7.0 * drawn) * (0.55 + 0.45 * inner)
    raised -= (4.0 * unit(views.units, "AU9")) * inner
    raised *= side
    rest = np.float32(person.brow_height) + np.float32(person.brow_slope * person.brow_length) * (along - 0.5)
    rest += np.float32(person.brow_arch) * (4.0 * along * (1.0 - along) - 0.5)
    rest *= 1.0 + np.sign(rays.x) * np.float32(0.35 * person.skew)
    return along, np.float32(person.eye_y) - rest - raised


@dataclass(frozen=True)
class Mouth:
    """The mouth of each view: (B,) in mm.

    Attributes:
        half_width: from the middle to a corner.
        lift_left: of the corner at +x above ``mouth_y``; ``lift_right`` of the other.
        upper: thickness of the upper lip, ``lower`` of the lower one.
        gap_up: from the lips' line up to the upper lip, in the middle; ``gap_down`` to the lower one.
        sneer: by which the upper lip's outline rises beside the middle.
    """

    half_width: FloatArray
    lift_left: FloatArray
    lift_right: FloatArray
    upper: FloatArray
    lower: FloatArray
    gap_up: FloatArray
    gap_down: FloatArray
    sneer: FloatArray


def mouth(person: FacePerson, views: FaceViews) -> Mouth:
    """Place the mouth.

    AU12 pulls the corners out by 18 % and up by 9 mm, AU15 down by 8 mm, AU20 out by 20 %, AU23 presses
    the lips to half their height, AU25 parts them, AU26 drops the jaw, AU16 bares the lower teeth, AU9
    lifts the upper lip.
    """
    value = {
        name: unit(views.units, name)[:, 0, 0]
        for name in ("AU9", "AU12", "AU15", "AU16", "AU20", "AU23", "AU25", "AU26")
    }
    pulled, stretched, pressed = value["AU12"], value["AU20"], value["AU23"]
    wide = 1.0 + 0.18 * pulled + 0.20 * stretched - 0.12 * pressed - 0.10 * value["AU26"]
    lift = 9.0 * pulled - 8.0 * value["AU15"] - 2.0 * stretched + person.mouth_curve
    uneven = views.imbalance + np.float32(person.skew)
    thin = 1.0 - 0.5 * pressed - 0.15 * pulled - 0.2 * stretched
    gap = value["AU25"] * (3.0 + 3.0 * pulled + 4.0 * stretched) + 13.0 * value["AU26"]
    return Mouth(
        half_width=np.float32(person.mouth_half_width) * wide,
        lift_left=lift * (1.0 + uneven),
        lift_right=lift * (1.0 - uneven),
        upper=np.float32(person.lip_upper) * thin,
        lower=np.float32(person.lip_lower) * thin,
        gap_up=0.35 * gap + 2.0 * value["AU9"] * value["AU25"],
        gap_down=0.65 * gap + 4.0 * value["AU16"],
        sneer=3.5 * value["AU9"],
    )


def mouth_rows(person: FacePerson, shape: Mouth, rays: Rays) -> slice:
    """Return the rows that lips and their seam can reach: more than they do."""
    bend = 1.5 * float(np.maximum(np.abs(shape.lift_left), np.abs(shape.lift_right)).max())
    above = float((np.abs(shape.gap_up) + np.abs(shape.upper) + shape.sneer).max())
    below = float((np.abs(shape.gap_down) + np.abs(shape.lower)).max())
    bend += 1.1 * BELL_END + 0.5 / float(rays.sharpness.min())
    return rays.rows(person.mouth_y - bend - above, person.mouth_y + bend + below)
