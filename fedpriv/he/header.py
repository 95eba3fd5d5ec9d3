"""The header of an envelope: what a client says of its update, byte by byte.

Little-endian, without gaps; the signature and what it covers are those of :mod:`fedpriv.he.envelope`:

======  =====  ====================================================
offset  bytes  field
======  =====  ====================================================
0       8      magic ``FEDPRIV`` and a zero byte
8       2      version, 3
10      2      bytes of this header, 256
12      4      reserved, zero
16      16     scheme, ASCII, padded with zero bytes
32      16     run id
48      4      round
52      4      client
56      8      parameters, the number of coordinates
64      32     digest of the parameter layout
96      32     digest of the start: the model and settings that the update was made from
128     32     digest of codec and run: all that both ends must share
160     8      examples that the update stands for
168     8      weight of the update in the average, float64
176     8      bytes of the mask
184     8      bytes of the body
192     32     SHA-256 of the mask
224     32     SHA-256 of the body
======  =====  ====================================================
"""

import math
import struct
from dataclasses import dataclass, fields
from typing import Literal

from fedpriv.he.identity import SIGNATURE_BYTES

_MAGIC = b"FEDPRIV\0"
_VERSION = 3
_FIELDS = struct.Struct("<8sHHI16s16sIIQ32s32s32sQdQQ32s32s")
_CLIENT = struct.Struct("<52xI")
HEADER_BYTES = _FIELDS.size
"""Bytes that are signed."""
SIGNED_BYTES = HEADER_BYTES + SIGNATURE_BYTES
"""Bytes of an envelope before its mask: header and signature."""

EnvelopeCause = Literal[
    "oversized",
    "truncated",
    "malformed",
    "wrong_scheme",
    "wrong_run",
    "wrong_round",
    "wrong_client",
    "wrong_model",
    "wrong_parameters",
    "wrong_examples",
    "wrong_weight",
    "forged",
    "tampered",
]


class EnvelopeError(ValueError):
    """An envelope that was refused.

    Attributes:
        cause: one of :data:`EnvelopeCause`, for counting.
    """

    def __init__(self, cause: EnvelopeCause, detail: str) -> None:
        """Keep the cause and what was found."""
        super().__init__(f"envelope {cause}: {detail}")
        self.cause: EnvelopeCause = cause


@dataclass(frozen=True, kw_only=True)
class Header:
    """What a client says of its update.

    Attributes:
        scheme: update scheme, an ASCII identifier of at most 16 characters.
        run_id: 16 bytes.
        round: round number, below 2^32.
        client: client number, below 2^32.
        parameters: coordinates of the update.
        layout: 32 bytes, digest of the names and shapes of the parameters.
        start: 32 bytes, digest of the model and settings that the client was sent.
        codec: 32 bytes, :attr:`UpdateCodec.digest`.
        examples: training examples that the update stands for.
        weight: what the update was multiplied by before encoding; positive and finite.

    Raises:
        ValueError: when a field does not fit its place.
    """

    scheme: str
    run_id: bytes
    round: int
    client: int
    parameters: int
    layout: bytes
    start: bytes
    codec: bytes
    examples: int
    weight: float

    def __post_init__(self) -> None:
        """Check that every field fits its place."""
        if not (self.scheme.isascii() and self.scheme.isidentifier() and len(self.scheme) <= 16):
            raise ValueError(f"scheme={self.scheme!r}: need an ASCII identifier of at most 16 characters")
        for name, value, size in (
            ("run_id", self.run_id, 16),
            ("layout", self.layout, 32),
            ("start", self.start, 32),
            ("codec", self.codec, 32),
        ):
            if len(value) != size:
                raise ValueError(f"{name}: need {size} bytes, got {len(value)}")
        for name, number, bits in (
            ("round", self.round, 32),
            ("client", self.client, 32),
            ("parameters", self.parameters, 64),
            ("examples", self.examples, 64),
        ):
            if not 0 <= number < 1 << bits:
                raise ValueError(f"{name}={number}: need 0 to 2^{bits} - 1")
        if not _is_weight(self.weight):
            raise ValueError(f"weight={self.weight}: need a positive, finite number")


@dataclass(frozen=True, kw_only=True)
class SignedHeader(Header):
    """A header as it was signed.

    Attributes:
        mask_bytes: size of the mask.
        body_bytes: size of the body.
        mask_digest: SHA-256 of the mask.
        body_digest: SHA-256 of the body.
    """

    mask_bytes: int
    body_bytes: int
    mask_digest: bytes
    body_digest: bytes


_NAMES = tuple(field.name for field in fields(SignedHeader))
"""The fields that follow the reserved ones, in their order."""


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What the receiver knows before it looks: every field of the header but the digests of mask and body.

    Attributes:
        scheme: as in :class:`Header`.
        run_id: as in :class:`Header`.
        round: as in :class:`Header`.
        client: as in :class:`Header`.
        parameters: as in :class:`Header`.
        layout: as in :class:`Header`.
        start: as in :class:`Header`; None for a key holder, who is not shown the model: any.
        codec: as in :class:`Header`.
        mask_bytes: exact size of a mask under that codec.
        body_bytes: exact size of a body under that codec.
        examples: as in :class:`Header`; None for a key holder, who cannot know it: any.
        weight: as in :class:`Header`; None for a key holder: any.
    """

    scheme: str
    run_id: bytes
    round: int
    client: int
    parameters: int
    layout: bytes
    start: bytes | None
    codec: bytes
    mask_bytes: int
    body_bytes: int
    examples: int | None
    weight: float | None


def pack(header: SignedHeader) -> bytes:
    """Return the ``HEADER_BYTES`` of a header."""
    said = vars(header) | {"scheme": header.scheme.encode()}
    return _FIELDS.pack(_MAGIC, _VERSION, HEADER_BYTES, 0, *(said[name] for name in _NAMES))


def unpack(signed: bytes, expected: Expected) -> SignedHeader:
    """Return the header once every field is as expected; the signature is not looked at.

    Args:
        signed: untrusted, at least ``HEADER_BYTES`` bytes.
        expected: the fields that it must have.

    Raises:
        EnvelopeError: for the first field that differs.
    """
    magic, version, header_bytes, reserved, *values = _FIELDS.unpack_from(signed)
    said = dict(zip(_NAMES, values, strict=True))
    if magic != _MAGIC:
        raise EnvelopeError("malformed", "not an envelope of fedpriv")
    if version != _VERSION:
        raise EnvelopeError("malformed", f"version {version}, this program reads {_VERSION}")
    if header_bytes != HEADER_BYTES or reserved:
        raise EnvelopeError("malformed", f"{header_bytes} bytes of header, or reserved bytes used")
    if said["scheme"] != expected.scheme.encode().ljust(16, b"\0"):
        raise EnvelopeError("wrong_scheme", f"{said['scheme']!r}, {expected.scheme} expected")
    if said["run_id"] != expected.run_id:
        raise EnvelopeError("wrong_run", f"{said['run_id'].hex()}, {expected.run_id.hex()} expected")
    if said["round"] != expected.round:
        raise EnvelopeError("wrong_round", f"{said['round']}, {expected.round} expected")
    if said["client"] != expected.client:
        raise EnvelopeError("wrong_client", f"{said['client']}, {expected.client} expected")
    if (said["parameters"], said["layout"]) != (expected.parameters, expected.layout):
        raise EnvelopeError(
            "wrong_model",
            f"{said['parameters']} coordinates, {expected.parameters} expected, or another layout",
        )
    if expected.start is not None and said["start"] != expected.start:
        raise EnvelopeError("wrong_model", "made from another model, or with other settings, than was sent")
    if said["codec"] != expected.codec:
        raise EnvelopeError("wrong_parameters", "encoded with other parameters, packing or keys")
    if expected.examples is not None and said["examples"] != expected.examples:
        raise EnvelopeError("wrong_examples", f"{said['examples']}, {expected.examples} expected")
    weight = said["weight"]
    if not _is_weight(weight) or (expected.weight is not None and weight != expected.weight):
        raise EnvelopeError("wrong_weight", f"{weight}, {expected.weight or 'a positive number'} expected")
    if (said["mask_bytes"], said["body_bytes"]) != (expected.mask_bytes, expected.body_bytes):
        raise EnvelopeError(
            "malformed",
            f"mask and body of {said['mask_bytes']} and {said['body_bytes']} bytes announced, "
            f"{expected.mask_bytes} and {expected.body_bytes} expected",
        )
    return SignedHeader(**said | {"scheme": expected.scheme})


def claimed_client(signed: bytes | memoryview) -> int:
    """Return the client number that a header claims: to find the key that :func:`open_signed` needs.

    Edge cases:
        - Nothing but the size is checked: the number is the sender's word.

    Raises:
        EnvelopeError: ``truncated`` or ``malformed`` when there are not exactly ``SIGNED_BYTES`` bytes.
    """
    (client,) = _CLIENT.unpack_from(exactly_signed(signed))
    return int(client)


def exactly_signed(signed: bytes | memoryview) -> bytes:
    """Return a copy of header and signature if it is as long as they are.

    Raises:
        EnvelopeError: ``truncated`` or ``malformed``.
    """
    size = memoryview(signed).nbytes
    if size != SIGNED_BYTES:
        cause: EnvelopeCause = "truncated" if size < SIGNED_BYTES else "malformed"
        raise EnvelopeError(cause, f"{size} bytes, header and signature have {SIGNED_BYTES}")
    return bytes(signed)


def _is_weight(value: float) -> bool:
    return math.isfinite(value) and value > 0.0
