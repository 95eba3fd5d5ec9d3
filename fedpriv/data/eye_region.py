"""What of a face the images show: the whole of it, or the left eye with its brow.

The eye region is one fixed rectangle of the face box, for aligned faces only: the person's left eye, on the
right of the image, from x = 0.52 to 0.88 of the box's width and y = 0.21 to 0.426 of its height. It has the
aspect of the gaze data's eye images and is resized to their (1, 36, 60), nose on the left as theirs.
It holds eye and brow where the eyes' centres lie near (0.30, 0.38) and (0.70, 0.38) of the box, as
:func:`face_box` makes it and the crops of FER2013, RAF-DB (aligned) and AffectNet nearly do. Turned
heads are not followed.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedpriv.errors import UserError
from fedpriv.formats.crop import Box, crop_resize

EYE_HEIGHT, EYE_WIDTH = 36, 60
EYE_PART: Box = (0.52, 0.21, 0.36, 0.216)
"""x, y, width and height as fractions of the face box."""

_WHOLE: Box = (0.0, 0.0, 1.0, 1.0)

EYE_X, EYE_Y = 0.30, 0.38
"""Where the eyes' centres lie in the box of :func:`face_box`: (0.30, 0.38) and (0.70, 0.38)."""

_LEAST, _MOST = 16, 512


@dataclass(frozen=True)
class FaceView:
    """Which part of a face box becomes an image of which size.

    Attributes:
        part: fractions of the face box.
        height: rows.
        width: columns.
        colour: RGB instead of grey.
    """

    part: Box
    height: int
    width: int
    colour: bool

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of an image."""
        return 3 if self.colour else 1, self.height, self.width

    def of(self, picture: NDArray[np.uint8], box: Box | None = None) -> NDArray[np.uint8]:
        """Cut this view of a face out of a picture.

        Args:
            picture: (H, W, C) uint8 with as many channels as the view.
            box: the face; None for the largest square in the middle. What lies outside is black.

        Returns:
            uint8 of :attr:`shape`; aspects other than the box's are not kept.

        Raises:
            ValueError: the box does not touch the picture, or is over three times as long as it.
        """
        x, y, across, down = box or _middle(picture)
        left, top, share_x, share_y = self.part
        part = (x + left * across, y + top * down, share_x * across, share_y * down)
        return crop_resize(picture, part, self.height, self.width)


def face_view(region: str, size: int, colour: bool) -> FaceView:
    """Turn the settings of a data set into a view.

    Args:
        region: ``face`` for the whole box, ``eye`` for the eye region, always (1, 36, 60).
        size: side of a face in pixels.
        colour: RGB instead of grey, for faces.

    Raises:
        UserError: for another region, a size outside 16 to 512, or coloured eyes.
    """
    if region not in ("face", "eye"):
        raise UserError(f"data.region={region}: choose face or eye")
    if not _LEAST <= size <= _MOST:
        raise UserError(f"data.size={size}: choose {_LEAST} to {_MOST}")
    if region == "eye":
        if colour:
            raise UserError("data.colour=True: eye regions are grey; set data.colour=False")
        return FaceView(EYE_PART, EYE_HEIGHT, EYE_WIDTH, colour=False)
    return FaceView(_WHOLE, size, size, colour)


def grown_to_square(box: Box) -> Box:
    """Return the square that shares a box's middle and its longer side."""
    x, y, across, down = box
    side = max(across, down)
    return x + (across - side) / 2, y + (down - side) / 2, side, side


def face_box(landmarks: NDArray[np.float64]) -> Box:
    """Return the square around a face that puts its eyes where :data:`EYE_X` and :data:`EYE_Y` say.

    With the eyes' centres e1 and e2 in the image, the side is |e2 - e1| / 0.4; horizontally the box is
    centred between the eyes, and they lie at 0.38 of its height. A tilted head stays tilted. Edges are
    rounded to whole pixels.

    Args:
        landmarks: (68, 2) x and y in pixels, in the order of Multi-PIE.

    Raises:
        ValueError: when the eyes coincide.
    """
    eyes = landmarks[36:42].mean(axis=0), landmarks[42:48].mean(axis=0)
    side = round(float(np.linalg.norm(eyes[1] - eyes[0])) / (1.0 - 2.0 * EYE_X))
    if side < 1:
        raise ValueError("both eyes lie on one point")
    middle = (eyes[0] + eyes[1]) / 2.0
    left, top = round(float(middle[0]) - side / 2.0), round(float(middle[1]) - EYE_Y * side)
    return float(left), float(top), float(side), float(side)


def _middle(picture: NDArray[np.uint8]) -> Box:
    rows, columns = picture.shape[:2]
    side = min(rows, columns)
    return float((columns - side) // 2), float((rows - side) // 2), float(side), float(side)
