"""A party's card: the public half of its signing key, for the enrolment.

A card says role, number and public key, and is signed with that key: who altered a digit on its way, or
renumbered a card, has a card that no longer checks. It says nothing about who the party is. That is
for people to make sure of, who compare its fingerprint over a channel that they trust.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from fedpriv.errors import UserError
from fedpriv.he.identity import MOST_PARTIES, PUBLIC_BYTES, SIGNATURE_BYTES, SigningKey, verify
from fedpriv.he.key_files import read_public, write_private
from fedpriv.he.strict_json import parse_object

CLIENT = "client"
HOLDER = "holder"
ROLES = (CLIENT, HOLDER)

_VERSION = 1
_MOST_BYTES = 4096
_NAMES = ("version", "role", "number", "public", "signature")


@dataclass(frozen=True)
class Card:
    """What one party sends to who makes the enrolment.

    Guarantee:
        - Who made it had the private key: nobody gets another's public key enrolled as its own.

    Attributes:
        role: ``client`` or ``holder``.
        number: of the client or key holder, 0 to ``MOST_PARTIES`` - 1.
        public: 32 bytes, the Ed25519 public key.
        signature: 64 bytes, over a domain, role, number and key.

    Raises:
        UserError: for another role or number, or a signature that does not check.
    """

    role: str
    number: int
    public: bytes
    signature: bytes

    def __post_init__(self) -> None:
        """Check every field."""
        require_party(self.role, self.number)
        if not verify(self.public, _signed(self.role, self.number, self.public), self.signature):
            raise UserError("signature: is not that of this role, number and key; ask for the card again")

    @staticmethod
    def of(role: str, number: int, key: SigningKey) -> "Card":
        """Make and sign the card of the party that has ``key``.

        Raises:
            UserError: for another role or number.
        """
        require_party(role, number)
        return Card(role, number, key.public, key.sign(_signed(role, number, key.public)))

    @property
    def fingerprint(self) -> str:
        """See :func:`fingerprint`."""
        return fingerprint(self.role, self.number, self.public)

    def save(self, path: Path) -> None:
        """Write a new JSON file, whole or not at all.

        Raises:
            UserError: when the file exists or cannot be written.
        """
        content = {
            "version": _VERSION,
            "role": self.role,
            "number": self.number,
            "public": self.public.hex(),
            "signature": self.signature.hex(),
        }
        write_private(path, json.dumps(content, indent=1).encode() + b"\n")

    @staticmethod
    def load(path: Path) -> "Card":
        """Read what :meth:`save` wrote, by whatever way the file came.

        Edge cases:
            - A file of more than 4096 bytes is refused unread.
            - Unknown, missing and repeated fields, numbers such as ``1.0`` and ``true``, and bytes that are
              not lower-case hexadecimal digits are refused.

        Raises:
            UserError: on each of these, when the file cannot be read, and what :class:`Card` refuses.
        """
        content = parse_object(path, read_public(path, _MOST_BYTES), "card")
        if content.keys() != set(_NAMES):
            raise UserError(f"{path}: a card has {', '.join(_NAMES)}, nothing else; ask for it again")
        if type(content["version"]) is not int or content["version"] != _VERSION:
            raise UserError(f"{path}: version: this program reads {_VERSION}; ask for a new card")
        if type(content["number"]) is not int or not isinstance(content["role"], str):
            raise UserError(f"{path}: need a role and the number of a party; ask for it again")
        public = _bytes(path, "public", content["public"], PUBLIC_BYTES)
        signature = _bytes(path, "signature", content["signature"], SIGNATURE_BYTES)
        try:
            return Card(content["role"], content["number"], public, signature)
        except UserError as error:
            raise UserError(f"{path}: {error}") from None


def fingerprint(role: str, number: int, public: bytes) -> str:
    """Return 32 hexadecimal digits of SHA-256 over role, number and key: what people compare.

    Making another key with the same 128 bits takes 2^128 tries. Two keys of one maker may have one
    fingerprint after 2^64, which gains the maker nothing: the enrolment's own digest is whole.
    """
    return hashlib.sha256(b"fedpriv-party-1\0" + _named(role, number, public)).hexdigest()[:32]


def require_party(role: str, number: int) -> None:
    """Check a role and a number.

    Raises:
        UserError: unless the role is known and the number is 0 to ``MOST_PARTIES`` - 1.
    """
    if role not in ROLES:
        raise UserError(f"role={role[:20]!r}: choose one of {', '.join(ROLES)}")
    if not 0 <= number < MOST_PARTIES:
        raise UserError(f"{role} {f'{number:d}'[:20]}: numbers go from 0 to {MOST_PARTIES - 1}")


def _signed(role: str, number: int, public: bytes) -> bytes:
    return b"fedpriv-card-1\0" + _named(role, number, public)


def _named(role: str, number: int, public: bytes) -> bytes:
    return f"{role} {number} ".encode() + public


def _bytes(path: Path, name: str, value: object, size: int) -> bytes:
    try:
        found = bytes.fromhex(value) if isinstance(value, str) else b""
    except ValueError:
        found = b""
    if len(found) != size or found.hex() != value:
        raise UserError(f"{path}: {name}: need {2 * size} lower-case hexadecimal digits; ask for it again")
    return found
