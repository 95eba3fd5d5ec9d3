"""Who may ask: a caller's signing key, and a card on which the gallery's owner signed for it.

A server knows the owner's Ed25519 key from ``public.key``, so a card is all that it needs to know a caller
by: nobody has to bring it lists. A caller that the owner takes out again still gets tickets, and no answers.
"""

import secrets
from dataclasses import dataclass
from pathlib import Path

from fedpriv.errors import UserError
from fedpriv.he.identity import PUBLIC_BYTES, SIGNATURE_BYTES, SigningKey, verify
from fedpriv.he.key_files import read_public, write_private

CALLER_BYTES = 8
KEY_FILE, CARD_FILE = "caller.key", "caller.card"

_SIGNED = b"fedpriv-faces-card-1\0"
_BYTES = CALLER_BYTES + PUBLIC_BYTES + SIGNATURE_BYTES


@dataclass(frozen=True)
class Card:
    """The owner's word for a caller; public.

    Attributes:
        caller: 16 hexadecimal digits, drawn at random: no name.
        public: the caller's Ed25519 key, 32 bytes.
        signature: the owner's, 64 bytes.
    """

    caller: str
    public: bytes
    signature: bytes

    @classmethod
    def issue(cls, owner: SigningKey, public: bytes) -> "Card":
        """Sign for the caller who has the key ``public``, under a new number."""
        number = secrets.token_bytes(CALLER_BYTES)
        return cls(number.hex(), public, owner.sign(_SIGNED + number + public))

    def text(self) -> str:
        """Return it as hexadecimal digits."""
        return self.caller + self.public.hex() + self.signature.hex()

    @classmethod
    def read(cls, text: str, verify_key: bytes) -> "Card | None":
        """Return the card that ``text`` is; None when it is none, or not signed by ``verify_key``."""
        if len(text) != 2 * _BYTES or not text.isascii():
            return None
        try:
            data = bytes.fromhex(text)
        except ValueError:
            return None
        signed, signature = data[:-SIGNATURE_BYTES], data[-SIGNATURE_BYTES:]
        if len(data) != _BYTES or not verify(verify_key, _SIGNED + signed, signature):
            return None
        return cls(signed[:CALLER_BYTES].hex(), signed[CALLER_BYTES:], signature)


@dataclass(frozen=True)
class Caller:
    """What a caller signs with.

    Attributes:
        key: its private key.
        card: that shows the owner's consent.
    """

    key: SigningKey
    card: Card

    @classmethod
    def make(cls, owner: SigningKey) -> "Caller":
        """Draw a key and sign for it."""
        key = SigningKey.generate()
        return cls(key, Card.issue(owner, key.public))

    def save(self, folder: Path) -> None:
        """Write ``caller.key`` and ``caller.card``, mode 0600, into an existing folder; nothing is replaced.

        Raises:
            UserError: when one exists or cannot be written.
        """
        self.key.save(folder / KEY_FILE)
        write_private(folder / CARD_FILE, self.card.text().encode() + b"\n")

    @classmethod
    def load(cls, folder: Path, verify_key: bytes) -> "Caller":
        """Read what :meth:`save` wrote.

        Args:
            folder: the caller's.
            verify_key: of the owner.

        Raises:
            UserError: when a file is missing or damaged, or the card is of another owner or key.
        """
        key, path = SigningKey.load(folder / KEY_FILE), folder / CARD_FILE
        text = read_public(path, 2 * _BYTES + 2).decode("ascii", "replace").strip()
        card = Card.read(text, verify_key)
        if card is None or card.public != key.public:
            raise UserError(f"{path}: no card of this caller by the owner of public.key; have one made anew")
        return cls(key, card)
