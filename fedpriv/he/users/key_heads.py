"""The frame of all three kinds of key files: who it belongs to, what is in it, and the owner's signature.

Layout, little-endian: magic ``FPKY``, version u16, kind u8 (1 secret, 2 public, 3 share), reserved u8, name
of the parameter set 24 bytes filled up with zeros, SHA-256 of the parameters 32, fingerprint of the key pair
32, the owner's Ed25519 key 32, holder u16 and holders u16 (0 unless a share), bytes of the body u64, the
body, and the owner's signature, 64 bytes, of the SHA-256 of all before it.
"""

import hashlib
import struct
from dataclasses import dataclass
from typing import Literal

from fedpriv.errors import FormatError
from fedpriv.he.identity import SIGNATURE_BYTES, SigningKey, verify
from fedpriv.he.users.sets import SETS, ParameterSet, Purpose
from fedpriv.he.users.shapes import Buffer

Kind = Literal["secret", "public", "share"]

_MAGIC = b"FPKY"
_VERSION = 1
_HEAD = struct.Struct("<4sHBB24s32s32s32sHHQ")
_KINDS: dict[int, Kind] = {1: "secret", 2: "public", 3: "share"}
_SIGNED = b"fedpriv-user-key-1\0"
OVERHEAD = _HEAD.size + SIGNATURE_BYTES
"""Bytes of a key file besides its body."""


@dataclass(frozen=True)
class KeyHead:
    """What every key file says of itself, all of it public.

    Attributes:
        kind: of the file.
        set: the parameters.
        fingerprint: of the key pair, 64 hexadecimal digits.
        verify_key: the owner's Ed25519 key, 32 bytes.
        number: of the key holder, from 1; 0 unless a share.
        holders: how many there are; 0 unless a share.
    """

    kind: Kind
    set: ParameterSet
    fingerprint: str
    verify_key: bytes
    number: int = 0
    holders: int = 0

    def seal(self, body: bytes, signer: SigningKey) -> bytes:
        """Return the file with this body."""
        kind = next(number for number, name in _KINDS.items() if name == self.kind)
        head = _HEAD.pack(
            _MAGIC,
            _VERSION,
            kind,
            0,
            self.set.name.encode(),
            self.set.seal.fingerprint,
            bytes.fromhex(self.fingerprint),
            self.verify_key,
            self.number,
            self.holders,
            len(body),
        )
        content = head + body
        return content + signer.sign(_signed(content))


def fingerprint(parameters: ParameterSet, verify_key: bytes, public_body: Buffer) -> str:
    """Return the name of a key pair: SHA-256 over parameters, verification key and all public polynomials.

    Guarantee:
        Two pairs have two names, whoever made them: a name cannot be claimed by another public key.
    """
    named = parameters.name.encode().ljust(24, b"\0") + parameters.seal.fingerprint + verify_key
    return hashlib.sha256(_SIGNED + named + hashlib.sha256(public_body).digest()).hexdigest()


def grouped(name: str) -> str:
    """Return a fingerprint's first 32 digits in groups of four, as people compare them."""
    return " ".join(name[start : start + 4] for start in range(0, 32, 4))


def open_head(
    source: object, data: bytes, kinds: tuple[Kind, ...], purpose: Purpose | None = None
) -> tuple[KeyHead, memoryview]:
    """Return head and body of a key file whose signature has been checked.

    Edge cases:
        - The signature shows that nothing was changed by others than the owner of ``verify_key``; who that
          is, only a comparison of fingerprints tells.

    Args:
        source: the file, for messages.
        data: all of it; its size is the caller's to bound.
        kinds: that will do.
        purpose: that it must be for; None for any.

    Raises:
        FormatError: naming what is wrong: another file, version, kind, purpose or parameters; cut, or
            changed.
    """
    if not data.startswith(_MAGIC):
        raise FormatError(source, 0, "no key file of `fedpriv keys`; name another")
    if len(data) < OVERHEAD:
        raise FormatError(source, len(data), "key file cut short; get it again, or restore it from a copy")
    _, version, number, reserved, name, parameters, key, verify_key, holder, holders, size = (
        _HEAD.unpack_from(data)
    )
    if version != _VERSION:
        raise FormatError(source, 4, f"key file of version {version}; this program reads {_VERSION}")
    kind = _KINDS.get(number)
    if kind is None or reserved:
        raise FormatError(source, 6, f"kind {number}, 1 to 3 known; get it again")
    if kind not in kinds:
        raise FormatError(
            source, 6, f"a {kind} key, and a {' or '.join(kinds)} key is needed; name that file"
        )
    text = name.rstrip(b"\0").decode("ascii", "replace")
    found = SETS.get(text)
    if found is None or found.name.encode().ljust(24, b"\0") != name:
        raise FormatError(source, 8, f"parameter set {text!r}, {', '.join(SETS)} known; make a new key")
    if found.seal.fingerprint != parameters:
        raise FormatError(source, 32, f"other parameters than {text} has in this version; make a new key")
    if purpose is not None and found.purpose != purpose:
        raise FormatError(
            source, 8, f"a key for {found.purpose}, and one for {purpose} is needed; name that file"
        )
    if (kind == "share") != bool(holders) or not (holder <= holders and bool(holder) == bool(holders)):
        raise FormatError(source, 128, f"key holder {holder} of {holders}; get it again")
    content, signature = data[:-SIGNATURE_BYTES], data[-SIGNATURE_BYTES:]
    if size != len(content) - _HEAD.size:
        cut = "cut short" if size > len(content) - _HEAD.size else "followed by other bytes"
        raise FormatError(source, len(data), f"key file {cut}; get it again, or restore it from a copy")
    if not verify(verify_key, _signed(content), signature):
        raise FormatError(
            source, None, "damaged or changed key file (its signature does not check); restore it"
        )
    head = KeyHead(kind, found, key.hex(), verify_key, holder, holders)
    return head, memoryview(content)[_HEAD.size :]


def _signed(content: bytes) -> bytes:
    return _SIGNED + hashlib.sha256(content).digest()
