"""The one envelope around every payload that a client sends.

Layout, little-endian, without gaps:

======  =====  ====================================================
offset  bytes  field
======  =====  ====================================================
0       8      magic ``FEDPRIV`` and a zero byte
8       2      version, 1
10      2      bytes of this header, 144
12      4      reserved, zero
16      16     scheme, ASCII, padded with zero bytes
32      16     run id
48      4      round
52      4      client
56      8      parameters, the number of coordinates
64      32     digest of the parameter layout
96      8      examples that the update stands for
104     8      bytes of the payload
112     32     SHA-256 of bytes 0 to 111 and the payload
144     -      payload
======  =====  ====================================================

The SHA-256 finds damage and mix-ups; without a signature it does not stop an attacker, who can
compute it as well. A later version signs the first 144 bytes in a block after the payload.
"""

import hashlib
import hmac
import struct
from dataclasses import dataclass
from typing import Literal

_MAGIC = b"FEDPRIV\0"
_VERSION = 1
_FIELDS = struct.Struct("<8sHHI16s16sIIQ32sQQ")
_DIGEST_BYTES = 32
HEADER_BYTES = _FIELDS.size + _DIGEST_BYTES
"""Bytes of an envelope before its payload."""

EnvelopeCause = Literal[
    "oversized",
    "truncated",
    "malformed",
    "wrong_run",
    "wrong_round",
    "wrong_client",
    "wrong_scheme",
    "wrong_model",
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


@dataclass(frozen=True)
class Expected:
    """What the receiver knows before it looks: every field must match.

    Attributes:
        scheme: update scheme, 1 to 16 ASCII characters.
        run_id: 16 bytes.
        round: round number, below 2^32.
        client: client number, below 2^32.
        parameters: coordinates of the update.
        layout: 32 bytes, digest of the names and shapes of the parameters.

    Raises:
        ValueError: when a field does not fit its place.
    """

    scheme: str
    run_id: bytes
    round: int
    client: int
    parameters: int
    layout: bytes

    def __post_init__(self) -> None:
        """Check that every field fits its place."""
        if not (self.scheme.isascii() and self.scheme.isidentifier() and len(self.scheme) <= 16):
            raise ValueError(f"scheme={self.scheme!r}: need an ASCII identifier of at most 16 characters")
        if len(self.run_id) != 16 or len(self.layout) != 32:
            raise ValueError(
                f"run_id, layout: need 16 and 32 bytes, got {len(self.run_id)}, {len(self.layout)}"
            )
        for name, value, bits in (
            ("round", self.round, 32),
            ("client", self.client, 32),
            ("parameters", self.parameters, 64),
        ):
            if not 0 <= value < 1 << bits:
                raise ValueError(f"{name}={value}: need 0 to 2^{bits} - 1")


@dataclass(frozen=True)
class Header(Expected):
    """What an envelope says of its payload.

    Attributes:
        examples: training examples that the update stands for.
    """

    examples: int

    def __post_init__(self) -> None:
        """Check that every field fits its place."""
        super().__post_init__()
        if not 0 <= self.examples < 1 << 64:
            raise ValueError(f"examples={self.examples}: need 0 to 2^64 - 1")


@dataclass(frozen=True)
class Envelope:
    """An opened envelope.

    Attributes:
        header: its fields, all as expected.
        payload: a view into the received bytes, nothing copied.
    """

    header: Header
    payload: memoryview


def seal(header: Header, payload: bytes | memoryview) -> bytes:
    """Return header, digest and payload as one string of bytes."""
    fields = _FIELDS.pack(
        _MAGIC,
        _VERSION,
        HEADER_BYTES,
        0,
        header.scheme.encode(),
        header.run_id,
        header.round,
        header.client,
        header.parameters,
        header.layout,
        header.examples,
        len(payload),
    )
    return b"".join([fields, _digest(fields, payload), payload])


def open_envelope(data: bytes | memoryview, expected: Expected, max_bytes: int) -> Envelope:
    """Check an envelope against what the receiver expects, before anybody parses its payload.

    Guarantee:
        Nothing is hashed or parsed of data longer than ``max_bytes``.
        Every field but ``examples`` equals ``expected``.
        Any changed bit, in header or payload, is refused.

    Edge cases:
        Bytes after the payload are ``malformed``, missing ones ``truncated``.
        Several faults at once: the first of size, magic, version, scheme, run, round, client,
        model, length, digest is named.

    Args:
        data: untrusted bytes.
        expected: the fields that it must have.
        max_bytes: the most bytes that header and payload together may have.

    Raises:
        EnvelopeError: on any disagreement.
    """
    if len(data) > max_bytes:
        raise EnvelopeError("oversized", f"{len(data)} bytes, at most {max_bytes} allowed")
    if len(data) < HEADER_BYTES:
        raise EnvelopeError("truncated", f"{len(data)} bytes, the header alone has {HEADER_BYTES}")
    view = memoryview(data)
    fields = _FIELDS.unpack_from(view)
    magic, version, header_bytes, reserved, scheme, run_id = fields[:6]
    number, client, parameters, layout, examples, length = fields[6:]
    if magic != _MAGIC or header_bytes != HEADER_BYTES or reserved:
        raise EnvelopeError("malformed", "not an envelope of fedpriv")
    if version != _VERSION:
        raise EnvelopeError("malformed", f"version {version}, this program reads {_VERSION}")
    if scheme != expected.scheme.encode().ljust(16, b"\0"):
        raise EnvelopeError("wrong_scheme", f"{scheme!r}, {expected.scheme} expected")
    if not hmac.compare_digest(run_id, expected.run_id):
        raise EnvelopeError("wrong_run", f"{run_id.hex()}, {expected.run_id.hex()} expected")
    if number != expected.round:
        raise EnvelopeError("wrong_round", f"{number}, {expected.round} expected")
    if client != expected.client:
        raise EnvelopeError("wrong_client", f"{client}, {expected.client} expected")
    if parameters != expected.parameters or layout != expected.layout:
        raise EnvelopeError(
            "wrong_model", f"{parameters} parameters, {expected.parameters} expected, or another layout"
        )
    payload = view[HEADER_BYTES:]
    if length != len(payload):
        cause: EnvelopeCause = "truncated" if length > len(payload) else "malformed"
        raise EnvelopeError(cause, f"{len(payload)} bytes of payload, {length} announced")
    if not hmac.compare_digest(_digest(view[: _FIELDS.size], payload), view[_FIELDS.size : HEADER_BYTES]):
        raise EnvelopeError("tampered", "header and payload do not have their digest")
    header = Header(expected.scheme, run_id, number, client, parameters, layout, examples)
    return Envelope(header, payload)


def _digest(fields: bytes | memoryview, payload: bytes | memoryview) -> bytes:
    """SHA-256 of the fields and the payload."""
    digest = hashlib.sha256(fields)
    digest.update(payload)
    return digest.digest()
