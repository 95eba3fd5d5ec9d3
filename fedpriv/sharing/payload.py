"""What is shared: one image and which models it is for, padded to a fixed size.

======  =====  ==========================================
offset  bytes  field (big-endian)
======  =====  ==========================================
0       2      height
2       2      width
4       1      pixel mode: 1 is 8-bit grey
5       1      models wanted: bit i asks for the i-th
6       2      zero
8       h * w  pixels, row by row
-       -      zeros up to the session's payload size
======  =====  ==========================================
"""

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedpriv.errors import UserError
from fedpriv.sharing.causes import Cause, SharingError

_HEADER = struct.Struct(">HHBBH")
_GREY = 1
HEADER_BYTES = _HEADER.size
MAX_MODELS = 8
DEFAULT_PAYLOAD_BYTES = HEADER_BYTES + 64 * 64


@dataclass(frozen=True, eq=False)
class ImagePayload:
    """One image as the model server reads it.

    Attributes:
        image: (height, width) uint8 grey, read-only.
        wanted: positions of the models wanted in the session's list, ascending.
    """

    image: NDArray[np.uint8]
    wanted: tuple[int, ...]


def pack(image: NDArray[np.uint8], wanted: tuple[int, ...], payload_bytes: int) -> bytes:
    """Return ``payload_bytes`` bytes that hold the image.

    Guarantee:
        - The size tells nothing of the image's.

    Args:
        image: (height, width) uint8 grey, at least one pixel.
        wanted: positions of the models wanted, at least one, each below 8.
        payload_bytes: the session's.

    Raises:
        UserError: when the image does not fit.
        ValueError: for another shape or dtype, or no model.
    """
    if image.ndim != 2 or image.dtype != np.uint8 or not image.size:
        raise ValueError(f"image {image.shape} of {image.dtype}: give (height, width) uint8")
    if not wanted or not all(0 <= each < MAX_MODELS for each in wanted):
        raise ValueError(f"wanted={wanted}: give positions from 0 to {MAX_MODELS - 1}")
    height, width = image.shape
    room = payload_bytes - HEADER_BYTES
    if image.size > room or max(height, width) > 0xFFFF:
        raise UserError(f"image: {height} x {width} pixels, at most {room} pixels fit; make it smaller")
    models = sum(1 << each for each in set(wanted))
    return _HEADER.pack(height, width, _GREY, models, 0) + image.tobytes() + bytes(room - image.size)


def unpack(payload: bytes) -> ImagePayload:
    """Read what :func:`pack` made.

    Guarantee:
        - One image has one payload: any other byte, padding included, is refused.

    Raises:
        SharingError: ``malformed``.
    """
    if len(payload) <= HEADER_BYTES:
        raise SharingError(Cause.MALFORMED, f"payload of {len(payload)} bytes")
    height, width, mode, models, zero = _HEADER.unpack_from(payload)
    end = HEADER_BYTES + height * width
    if mode != _GREY or zero or not models or end == HEADER_BYTES or end > len(payload):
        raise SharingError(Cause.MALFORMED, f"payload of {height} x {width} pixels, mode {mode}")
    if payload.count(0, end) != len(payload) - end:
        raise SharingError(Cause.MALFORMED, "payload: the padding is not zero")
    image = np.frombuffer(payload, np.uint8, height * width, HEADER_BYTES).reshape(height, width)
    return ImagePayload(image, tuple(bit for bit in range(MAX_MODELS) if models >> bit & 1))
