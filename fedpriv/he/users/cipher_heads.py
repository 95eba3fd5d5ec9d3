"""The header of a cipher set: ciphertexts of one shape under one key, as a file or the body of a request.

Layout, little-endian: magic ``FPCT``, version u16, flags u16 (1 signed, 2 seeded), name of the parameter set
24 bytes filled up with zeros, SHA-256 of the parameters 32, fingerprint of the key pair 32, number of
ciphertexts u64, polynomials u8, primes u8, reserved u16, bytes of metadata u32, scale f64; the metadata, a
JSON object; the ciphertexts, of one size; and the signature (64 bytes) of the key's owner, or the SHA-256 (32
bytes) of all before it.
"""

import json
import struct
from dataclasses import dataclass
from typing import Any

from fedpriv.errors import FormatError, UserError
from fedpriv.he.strict_json import parse_object
from fedpriv.he.users.public_keys import PublicKeys
from fedpriv.he.users.sets import ParameterSet
from fedpriv.he.users.shapes import Shape

MOST_METADATA = 1 << 16
SIGNED = b"fedpriv-ciphers-1\0"
"""Before the SHA-256 that the owner signs."""

MAGIC = b"FPCT"
_VERSION = 1
_HEAD = struct.Struct("<4sHH24s32s32sQBBHId")
_SIGNED_FLAG, _SEEDED_FLAG = 1, 2
HEAD_BYTES = _HEAD.size


@dataclass(frozen=True)
class CipherHead:
    """What a cipher set says of itself; public.

    Attributes:
        set: the parameters.
        key: fingerprint of the key pair that it is under, 64 hexadecimal digits.
        shape: of its ciphertexts.
        count: how many there are.
        metadata: a JSON object of at most 64 KiB, whose fields are the reader's to check.
        signed: by the owner of the key; what a server computed is not.
    """

    set: ParameterSet
    key: str
    shape: Shape
    count: int
    metadata: dict[str, Any]
    signed: bool

    def to_bytes(self) -> bytes:
        """Return header and metadata.

        Raises:
            ValueError: when the metadata is too large or no JSON, or the shape impossible.
        """
        if problem := self.shape.problem(self.set):
            raise ValueError(problem)
        metadata = json.dumps(self.metadata, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
        if len(metadata) > MOST_METADATA:
            raise ValueError(f"metadata: {len(metadata)} bytes, at most {MOST_METADATA}")
        head = _HEAD.pack(
            MAGIC,
            _VERSION,
            _SIGNED_FLAG * self.signed | _SEEDED_FLAG * self.shape.seeded,
            self.set.name.encode(),
            self.set.seal.fingerprint,
            bytes.fromhex(self.key),
            self.count,
            self.shape.polynomials,
            self.shape.primes,
            0,
            len(metadata),
            self.shape.scale,
        )
        return head + metadata


def read_head(source: object, data: bytes, keys: PublicKeys) -> tuple[CipherHead, int]:
    """Return the header that ``data`` is, its metadata still missing, and the bytes of metadata that follow.

    Args:
        source: the file, for messages.
        data: exactly :data:`HEAD_BYTES`.
        keys: that the ciphertexts must be under.

    Raises:
        FormatError: naming what is wrong: another file, version, key or parameters, or an impossible shape.
    """
    if not data.startswith(MAGIC):
        raise FormatError(source, 0, "no ciphertexts of fedpriv; name another file")
    _, version, flags, name, parameters, key, count, polynomials, primes, reserved, size, scale = (
        _HEAD.unpack(data)
    )
    if version != _VERSION:
        raise FormatError(source, 4, f"ciphertexts of version {version}; this program reads {_VERSION}")
    if flags & ~(_SIGNED_FLAG | _SEEDED_FLAG) or reserved:
        raise FormatError(source, 6, f"flags {flags:#x} are not known; get it again")
    if name != keys.set.name.encode().ljust(24, b"\0"):
        text = name.rstrip(b"\0").decode("ascii", "replace")
        raise FormatError(
            source, 8, f"ciphertexts for {text!r}, and the key is for {keys.set.name!r}; name another"
        )
    if parameters != keys.set.seal.fingerprint:
        raise FormatError(
            source, 32, f"other parameters than {keys.set.name} has in this version; encrypt again"
        )
    keys.require(key.hex(), source)
    if size > MOST_METADATA:
        raise FormatError(source, 108, f"{size} bytes of metadata, at most {MOST_METADATA}")
    shape = Shape(polynomials, primes, bool(flags & _SEEDED_FLAG), scale)
    if problem := shape.problem(keys.set):
        raise FormatError(source, 104, problem)
    return CipherHead(keys.set, key.hex(), shape, count, {}, bool(flags & _SIGNED_FLAG)), size


def read_metadata(source: object, data: bytes) -> dict[str, Any]:
    """Return the metadata; repeated names, NaN, infinity and numbers beyond float64 are refused.

    Raises:
        FormatError: when it is no such JSON.
    """
    try:
        metadata = parse_object(source, data, "metadata")
        json.dumps(metadata, allow_nan=False)
    except (UserError, ValueError, RecursionError) as error:
        reason = str(error).removeprefix(f"{source}: ")
        raise FormatError(source, HEAD_BYTES, f"metadata: {reason}") from None
    return metadata
