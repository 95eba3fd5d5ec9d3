"""Who is who: Ed25519 signing keys, and the list of those enrolled in a federation.

Source: Bernstein, Duif, Lange, Schwabe, Yang 2011 (High-speed high-security signatures); RFC 8032.
"""

import hashlib
import hmac
import json
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from fedpriv.errors import UserError
from fedpriv.he.key_files import read_private, read_public, write_private
from fedpriv.he.policy import Policy
from fedpriv.he.strict_json import parse_object

PUBLIC_BYTES = 32
SIGNATURE_BYTES = 64
MOST_PARTIES = 100_000
"""Most clients, and most key holders, that one enrolment may list."""

_MAGIC = b"FPSIGKEY"
_VERSION = 1
_KEY_FILE = struct.Struct("<8sII32s")
_DIGEST_BYTES = 32
_SMALL_ORDER = frozenset(
    bytes.fromhex(encoded)
    for encoded in (
        "00" * 32,
        "01" + "00" * 31,
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "ec" + "ff" * 30 + "7f",
        "ed" + "ff" * 30 + "7f",
        "ee" + "ff" * 30 + "7f",
    )
)
"""Encodings of the points of order 1, 2, 4 and 8, without the bit of their sign."""
_ENROLMENT_VERSION = 2
_MOST_ENROLMENT_BYTES = 1 << 25
_FINGERPRINT = re.compile("[0-9a-f]{32}")


class SigningKey:
    """An Ed25519 private key. Does not show itself, is not copied and is not pickled."""

    __slots__ = ("_key",)

    def __init__(self, key: Ed25519PrivateKey) -> None:
        """Hold a key; use :meth:`generate` or :meth:`load`."""
        self._key = key

    @classmethod
    def generate(cls) -> "SigningKey":
        """Draw a key from the operating system's randomness."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def load(cls, path: Path) -> "SigningKey":
        """Read what :meth:`save` wrote.

        Edge cases:
            - A file that group or others may access is refused.
            - A file of another size, magic, version or checksum is refused.

        Raises:
            UserError: on each of these, and when the file cannot be read.
        """
        data = read_private(path, _KEY_FILE.size + _DIGEST_BYTES)
        content, digest = data[:-_DIGEST_BYTES], data[-_DIGEST_BYTES:]
        if len(content) != _KEY_FILE.size or not content.startswith(_MAGIC):
            raise UserError(f"{path}: not a signing key of fedpriv; name another file")
        _, version, _, seed = _KEY_FILE.unpack(content)
        if version != _VERSION:
            raise UserError(f"{path}: signing key of version {version}; this program reads {_VERSION}")
        if not hmac.compare_digest(hashlib.sha256(content).digest(), digest):
            raise UserError(f"{path}: damaged signing key; restore it from a copy or enrol a new one")
        return cls(Ed25519PrivateKey.from_private_bytes(seed))

    def save(self, path: Path, durable: bool = True) -> None:
        """Write a new file of mode 0600; see :func:`~fedpriv.he.key_files.write_private`.

        Layout, little-endian: magic 8 bytes, version u32, reserved u32, RFC 8032 seed 32 bytes,
        SHA-256 of all before it.

        Raises:
            UserError: when the file exists or cannot be written.
        """
        content = _KEY_FILE.pack(_MAGIC, _VERSION, 0, self._key.private_bytes_raw())
        write_private(path, content + hashlib.sha256(content).digest(), durable)

    @property
    def public(self) -> bytes:
        """The 32 bytes that others verify with."""
        return self._key.public_key().public_bytes_raw()

    def sign(self, message: bytes) -> bytes:
        """Return the 64-byte signature of ``message``; equal messages give equal signatures."""
        return self._key.sign(message)

    def __repr__(self) -> str:
        """Show the public part only."""
        return f"SigningKey(public={self.public.hex()})"

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled or copied: keys travel as files."""
        raise TypeError("SigningKey: cannot be pickled or copied; pass the path of its file")


def verify(public: bytes, message: bytes, signature: bytes) -> bool:
    """Whether ``signature`` is that of ``message`` under the key ``public``.

    Edge cases:
        - A key or signature of another length, or one that is no point of the curve: False.
    """
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


@dataclass(frozen=True)
class Enrolment:
    """The public keys and terms of a federation: what everybody must have got from one place.

    Guarantee:
        - No key stands twice, in whatever role: who holds one key is one party, never two.

    Edge cases:
        - A number outside 0 to 2^32 - 1, or a key that has not 32 bytes, is refused.
        - A key of small order, such as 32 zero bytes, is refused: anybody can sign for it.
        - More than ``MOST_PARTIES`` of a role are refused.
        - A policy for another number of key holders than is enrolled is refused.

    Attributes:
        clients: client number to public key.
        keyholders: key holder number to public key; empty where a scheme needs none.
        shared_key: fingerprint of the symmetric key that clients encrypt under, 32 hexadecimal digits; None
            where they share none. It tells nothing about the key, and lets others refuse another one.
        policy: what every party demands of a run; None for a list of keys that never becomes a file.

    Raises:
        UserError: on each of these.
    """

    clients: Mapping[int, bytes]
    keyholders: Mapping[int, bytes]
    shared_key: str | None = None
    policy: Policy | None = None

    def __post_init__(self) -> None:
        """Take copies and check them."""
        object.__setattr__(self, "clients", dict(self.clients))
        object.__setattr__(self, "keyholders", dict(self.keyholders))
        if self.shared_key is not None and not _FINGERPRINT.fullmatch(self.shared_key):
            raise UserError("enrolment.shared_key: need a fingerprint of 32 hexadecimal digits, or null")
        if self.policy is not None and self.policy.holders != len(self.keyholders):
            raise UserError(
                f"enrolment.policy.holders={self.policy.holders}: {len(self.keyholders)} key holders are "
                "enrolled; set it to that"
            )
        seen: dict[bytes, str] = {}
        for role, parties in (("clients", self.clients), ("keyholders", self.keyholders)):
            if len(parties) > MOST_PARTIES:
                raise UserError(f"enrolment.{role}: {len(parties)} of them; at most {MOST_PARTIES}")
            for number, public in parties.items():
                place = f"{role}.{number}"
                if not 0 <= number < 1 << 32:
                    raise UserError(f"enrolment.{place}: numbers go from 0 to 2^32 - 1")
                if len(public) != PUBLIC_BYTES:
                    raise UserError(f"enrolment.{place}: {len(public)} bytes; a key has {PUBLIC_BYTES}")
                if public[:-1] + bytes([public[-1] & 0x7F]) in _SMALL_ORDER:
                    raise UserError(f"enrolment.{place}: a key that anybody can sign for; enrol a real one")
                if public in seen:
                    raise UserError(f"enrolment.{place}: the key of {seen[public]}; enrol a key of its own")
                seen[public] = place

    @property
    def digest(self) -> bytes:
        """SHA-256 over shared key, policy and both lists in order: equal digests, equal enrolments."""
        policy = b"" if self.policy is None else self.policy.canonical
        parts = [
            b"fedpriv-enrolment-2\0",
            (self.shared_key or "").encode().ljust(32, b"\0"),
            struct.pack("<I", len(policy)) + policy,
        ]
        for parties in (self.clients, self.keyholders):
            parts.append(struct.pack("<I", len(parties)))
            parts += [struct.pack("<I", number) + parties[number] for number in sorted(parties)]
        return hashlib.sha256(b"".join(parts)).digest()

    def save(self, path: Path, durable: bool = True) -> None:
        """Write a new JSON file, whole or not at all; the owner may open its mode to others.

        Raises:
            UserError: when the file exists or cannot be written.
            ValueError: without a policy.
        """
        if self.policy is None:
            raise ValueError("enrolment.policy: is missing; parties would take any configuration")
        content = {
            "version": _ENROLMENT_VERSION,
            "clients": {str(number): self.clients[number].hex() for number in sorted(self.clients)},
            "keyholders": {str(number): self.keyholders[number].hex() for number in sorted(self.keyholders)},
            "shared_key": self.shared_key,
            "policy": self.policy.to_plain(),
        }
        write_private(path, json.dumps(content, indent=1).encode() + b"\n", durable)

    @staticmethod
    def load(path: Path) -> "Enrolment":
        """Read what :meth:`save` wrote, by whatever way the file came.

        Edge cases:
            - A file of more than 32 MiB is refused unread.
            - Unknown, missing and repeated fields, numbers written in another way (``01``) and keys that
              are not 64 lower-case hexadecimal digits are refused.
            - A file without a policy is refused: what is loaded has one.
            - What :class:`Enrolment` refuses is refused with the file's name.

        Raises:
            UserError: on each of these, and when the file cannot be read.
        """
        content = parse_object(path, read_public(path, _MOST_ENROLMENT_BYTES), "enrolment")
        names = {"version", "clients", "keyholders", "shared_key", "policy"}
        if "version" not in content:
            raise UserError(f"{path}: is no enrolment (it has no version); ask for it again")
        # before the names, for an older file lacks one
        if type(content["version"]) is not int or content["version"] != _ENROLMENT_VERSION:
            raise UserError(f"{path}: version: this program reads {_ENROLMENT_VERSION}; enrol everybody anew")
        if content.keys() != names:
            raise UserError(f"{path}: an enrolment has {', '.join(sorted(names))}, nothing else")
        shared = content["shared_key"]
        if not (shared is None or isinstance(shared, str)):
            raise UserError(f"{path}: shared_key: need a fingerprint or null")
        try:
            return Enrolment(
                _keys(path, "clients", content["clients"]),
                _keys(path, "keyholders", content["keyholders"]),
                shared,
                Policy.from_plain(content["policy"]),
            )
        except UserError as error:
            raise UserError(f"{path}: {str(error).removeprefix(f'{path}: ')}") from None


def _keys(path: Path, role: str, value: Any) -> dict[int, bytes]:
    if not isinstance(value, dict) or len(value) > MOST_PARTIES:
        raise UserError(f"{path}: {role}: need at most {MOST_PARTIES} numbers with their keys")
    keys = {}
    for name, text in value.items():
        if not (name.isascii() and name.isdecimal() and len(name) <= 10 and str(int(name)) == name):
            raise UserError(f"{path}: {role}: {name[:20]!r} is no number of a party")
        try:
            public = bytes.fromhex(text)
        except (TypeError, ValueError):
            public = b""
        if len(public) != PUBLIC_BYTES or public.hex() != text:
            raise UserError(f"{path}: {role}.{name}: need 64 lower-case hexadecimal digits")
        keys[int(name)] = public
    return keys
