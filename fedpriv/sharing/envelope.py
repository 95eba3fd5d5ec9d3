"""One sealed share as it travels: clear header, body sealed to the model server.

======  =====  ==========================================================
offset  bytes  field (big-endian)
======  =====  ==========================================================
0       3      ``FPS``
3       1      version, 1
4       1      scheme: 1 additive, 2 Shamir
5       1      share index, from 0
6       1      n
7       1      t
8       16     session id
24      16     image id
40      8      expiry, milliseconds since 1970 by the server's clock
48      32     commitment to the payload
80      4      bytes that follow
84      -      ChaCha20-Poly1305 of salt (32 bytes) and share, with its tag
======  =====  ==========================================================

The whole header is associated data. The nonce is image number * 256 + share index under the session's
client-to-server key: a number is never used for two payloads, and a retry is the same bytes.
"""

import struct
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from fedpriv.sharing.causes import Cause, SharingError
from fedpriv.sharing.commitment import SALT_BYTES
from fedpriv.sharing.handshake import nonce
from fedpriv.sharing.scheme import Scheme

_MAGIC, _VERSION = b"FPS", 1
_HEADER = struct.Struct(">3sBBBBB16s16sQ32sI")
HEADER_BYTES = _HEADER.size
TAG_BYTES = 16
MAX_BATCH = 64


class Header(NamedTuple):
    """The clear fields.

    Attributes:
        scheme: code of the scheme's kind, n and t, as :attr:`Scheme.wire`.
        share: which share, from 0.
        session: id of the session, 16 bytes.
        image: id of the image, 16 bytes.
        expiry_ms: after this the share is refused; milliseconds since 1970, the server's clock.
        commitment: to the payload, 32 bytes.
    """

    scheme: tuple[int, int, int]
    share: int
    session: bytes
    image: bytes
    expiry_ms: int
    commitment: bytes


def envelope_bytes(scheme: Scheme, payload_bytes: int) -> int:
    """Return the size that every envelope of such a session has."""
    return HEADER_BYTES + SALT_BYTES + scheme.share_bytes(payload_bytes) + TAG_BYTES


def read_header(envelope: bytes) -> Header:
    """Read the clear fields, none of which is authentic yet.

    Raises:
        SharingError: ``wrong_size`` when it is too short or another length is announced,
            ``malformed`` or ``wrong_version``.
    """
    if len(envelope) <= HEADER_BYTES + SALT_BYTES + TAG_BYTES:
        raise SharingError(Cause.WRONG_SIZE, f"envelope of {len(envelope)} bytes")
    magic, version, kind, share, n, t, session, image, expiry_ms, commitment, length = _HEADER.unpack_from(
        envelope
    )
    if magic != _MAGIC:
        raise SharingError(Cause.MALFORMED, "no envelope of a share")
    if version != _VERSION:
        raise SharingError(Cause.WRONG_VERSION, f"version {version}, {_VERSION} known")
    if length != len(envelope) - HEADER_BYTES:
        raise SharingError(
            Cause.WRONG_SIZE, f"{length} bytes announced, {len(envelope) - HEADER_BYTES} follow"
        )
    return Header((kind, n, t), share, session, image, expiry_ms, commitment)


def seal_share(cipher: ChaCha20Poly1305, header: Header, number: int, salt: bytes, share: bytes) -> bytes:
    """Return the envelope of one share of image ``number``.

    Guarantee:
        - Everything in it is authenticated, and all but the header is secret.
        - The caller never seals two shares under one ``number`` and ``header.share``.
    """
    kind, n, t = header.scheme
    packed = _HEADER.pack(
        _MAGIC, _VERSION, kind, header.share, n, t, header.session, header.image,
        header.expiry_ms, header.commitment, len(salt) + len(share) + TAG_BYTES,
    )  # fmt: skip
    return packed + cipher.encrypt(nonce(number << 8 | header.share), salt + share, packed)


def open_share(cipher: ChaCha20Poly1305, envelope: bytes, number: int, share: int) -> tuple[bytes, bytes]:
    """Return salt and share.

    Raises:
        SharingError: ``not_authentic`` when any bit of header or body is another than was sealed.
    """
    try:
        opened = cipher.decrypt(nonce(number << 8 | share), envelope[HEADER_BYTES:], envelope[:HEADER_BYTES])
    except InvalidTag as error:
        raise SharingError(Cause.NOT_AUTHENTIC, "share sealed by another key, or changed") from error
    return opened[:SALT_BYTES], opened[SALT_BYTES:]


def cut_batch(body: bytes, most: int = MAX_BATCH) -> list[bytes]:
    """Cut envelopes that stand back to back.

    Guarantee:
        - Work is bounded by ``body``, whatever lengths it announces.

    Edge cases:
        - Nothing is read of the fields but magic and length; each envelope may still be refused.

    Raises:
        SharingError: ``malformed`` when it is empty, holds more than ``most``, has other bytes between,
            or the last one is cut short.
    """
    found: list[bytes] = []
    start = 0
    while start < len(body):
        if len(found) == most:
            raise SharingError(Cause.MALFORMED, f"more than {most} envelopes in one body")
        length = int.from_bytes(body[start + HEADER_BYTES - 4 : start + HEADER_BYTES], "big")
        end = start + HEADER_BYTES + length
        if body[start : start + len(_MAGIC)] != _MAGIC or end > len(body):
            raise SharingError(Cause.MALFORMED, f"offset {start}: no whole envelope of a share")
        found.append(body[start:end])
        start = end
    if not found:
        raise SharingError(Cause.MALFORMED, "an empty body")
    return found
