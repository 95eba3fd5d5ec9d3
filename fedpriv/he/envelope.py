"""The one envelope around every update: header, signature, mask, body.

======  =====  ================================================================================
offset  bytes  part
======  =====  ================================================================================
0       256    header, see :mod:`fedpriv.he.header`
256     64     Ed25519 signature of ``fedpriv-update-3``, a zero byte and the header
320     -      mask
-       -      body
======  =====  ================================================================================

The server needs the body and key holders the mask. The signature covers the digests of both and
neither of them, so that a key holder can check header and mask without the body.

Source of the signature: RFC 8032.
"""

import hashlib
from dataclasses import dataclass

from fedpriv.he.fixed_bytes import FixedBytes
from fedpriv.he.header import (
    HEADER_BYTES,
    SIGNED_BYTES,
    EnvelopeCause,
    EnvelopeError,
    Expected,
    Header,
    SignedHeader,
    claimed_client,
    exactly_signed,
    pack,
    unpack,
)
from fedpriv.he.identity import SigningKey, verify

__all__ = [
    "HEADER_BYTES",
    "SIGNED_BYTES",
    "Draft",
    "Envelope",
    "EnvelopeCause",
    "EnvelopeError",
    "Expected",
    "Header",
    "SignedHeader",
    "check_mask",
    "claimed_client",
    "open_envelope",
    "open_signed",
]

_DOMAIN = b"fedpriv-update-3\0"


@dataclass(frozen=True)
class Envelope:
    """An opened envelope.

    Attributes:
        header: its fields, all as expected.
        signed: header and signature, a copy of 320 bytes: what key holders ask for.
        mask: a view into the received bytes.
        body: a view into the received bytes.
    """

    header: SignedHeader
    signed: bytes
    mask: memoryview
    body: memoryview


class Draft:
    """An envelope that is being filled; the update is written into it and never held twice.

    Attributes:
        mask: for the key holders, writable until :meth:`seal`, zero at first.
        body: for the server, likewise.
    """

    def __init__(self, mask_bytes: int, body_bytes: int) -> None:
        """Leave room for header and signature before the mask and body of these sizes."""
        self._bytes = FixedBytes(SIGNED_BYTES + mask_bytes + body_bytes)
        view = self._bytes.view
        self.mask, self.body = view[SIGNED_BYTES:][:mask_bytes], view[SIGNED_BYTES + mask_bytes :]

    def seal(self, header: Header, key: SigningKey) -> bytes:
        """Sign and return the whole: header, signature, mask and body.

        Args:
            header: what is said of the update; sizes and digests are added here.
            key: the client's.

        Raises:
            BufferError: when somebody still holds a view of :attr:`mask` or :attr:`body`.
        """
        packed = pack(
            SignedHeader(
                **vars(header),
                mask_bytes=len(self.mask),
                body_bytes=len(self.body),
                mask_digest=hashlib.sha256(self.mask).digest(),
                body_digest=hashlib.sha256(self.body).digest(),
            )
        )
        self.mask.release()
        self.body.release()
        self._bytes.view[:SIGNED_BYTES] = packed + key.sign(_DOMAIN + packed)
        return self._bytes.take()


def open_envelope(data: bytes | memoryview, expected: Expected, public: bytes, max_bytes: int) -> Envelope:
    """Check an envelope against what the receiver expects, before anybody parses mask or body.

    Guarantee:
        - Nothing is read or hashed of data longer than ``max_bytes``.
        - Mask and body are not read before the header's fields, sizes and signature have been checked.
        - Every field but the digests equals ``expected``, and the holder of ``public`` signed them all.
        - Any changed bit, in header, signature, mask or body, is refused.

    Edge cases:
        - Bytes after the body are ``malformed``, missing ones ``truncated``.
        - Several faults at once: the first of cap, size, magic, version, scheme, run, round, client,
          model and start, codec, examples, weight, lengths, signature, digests is named.

    Args:
        data: untrusted bytes.
        expected: the fields that it must have.
        public: the client's public key.
        max_bytes: the most bytes that the whole envelope may have.

    Raises:
        EnvelopeError: on any disagreement.
    """
    view = memoryview(data)
    if view.nbytes > max_bytes:
        raise EnvelopeError("oversized", f"{view.nbytes} bytes, at most {max_bytes} allowed")
    view = view.cast("B")
    if len(view) < SIGNED_BYTES:
        raise EnvelopeError("truncated", f"{len(view)} bytes, header and signature have {SIGNED_BYTES}")
    signed = bytes(view[:SIGNED_BYTES])
    header = unpack(signed, expected)
    size = SIGNED_BYTES + header.mask_bytes + header.body_bytes
    if len(view) != size:
        cause: EnvelopeCause = "truncated" if len(view) < size else "malformed"
        raise EnvelopeError(cause, f"{len(view)} bytes, {size} announced")
    _check_signature(signed, public)
    mask, body = view[SIGNED_BYTES : SIGNED_BYTES + header.mask_bytes], view[size - header.body_bytes :]
    check_mask(header, mask)
    if hashlib.sha256(body).digest() != header.body_digest:
        raise EnvelopeError("tampered", "the body does not have its digest")
    return Envelope(header, signed, mask, body)


def open_signed(signed: bytes | memoryview, expected: Expected, public: bytes) -> SignedHeader:
    """Check header and signature alone: what a key holder gets of each envelope.

    Guarantee:
        - As :func:`open_envelope`, for every field, the announced sizes and the signature.

    Edge cases:
        - Fewer than ``SIGNED_BYTES`` bytes are ``truncated``, more are ``malformed``.

    Raises:
        EnvelopeError: on any disagreement.
    """
    signed = exactly_signed(signed)
    header = unpack(signed, expected)
    _check_signature(signed, public)
    return header


def check_mask(header: SignedHeader, mask: bytes | memoryview) -> None:
    """Check that ``mask`` is the one whose digest was signed.

    Guarantee:
        - A mask of another size is refused before it is hashed.

    Raises:
        EnvelopeError: ``truncated`` or ``malformed`` for its size, ``tampered`` for its content.
    """
    size = memoryview(mask).nbytes
    if size != header.mask_bytes:
        cause: EnvelopeCause = "truncated" if size < header.mask_bytes else "malformed"
        raise EnvelopeError(cause, f"mask of {size} bytes, {header.mask_bytes} announced")
    if hashlib.sha256(mask).digest() != header.mask_digest:
        raise EnvelopeError("tampered", "the mask does not have its digest")


def _check_signature(signed: bytes, public: bytes) -> None:
    if not verify(public, _DOMAIN + signed[:HEADER_BYTES], signed[HEADER_BYTES:]):
        raise EnvelopeError("forged", "not signed by the client's enrolled key")
