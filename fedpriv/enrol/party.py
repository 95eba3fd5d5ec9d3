"""One party's own key folder, in the layout of :mod:`fedpriv.he.provision`, and its card to send."""

import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fedpriv.errors import UserError
from fedpriv.he.cards import CLIENT, HOLDER, Card, fingerprint, require_party
from fedpriv.he.identity import Enrolment, SigningKey
from fedpriv.he.key_files import SHARED_KEY, sync_folder
from fedpriv.he.provision import client_folder, keyholder_folder, signing_key_file

_FOLDERS = {CLIENT: client_folder, HOLDER: keyholder_folder}


@dataclass(frozen=True)
class Party:
    """A party whose secrets lie in a key folder.

    Attributes:
        role: ``client`` or ``holder``.
        number: its number.
        folder: of its secrets.
        public: its public key.
    """

    role: str
    number: int
    folder: Path
    public: bytes

    @property
    def name(self) -> str:
        """As people say it: ``client 0``."""
        return f"{self.role} {self.number}"

    @property
    def fingerprint(self) -> str:
        """See :func:`fedpriv.he.cards.fingerprint`."""
        return fingerprint(self.role, self.number, self.public)

    @property
    def shared_key(self) -> Path:
        """Where the key that clients and holder share belongs."""
        return self.folder / SHARED_KEY

    def enrolled(self, enrolment: Enrolment) -> bytes | None:
        """Return the key that stands in an enrolment under this party's number, or None."""
        parties = enrolment.clients if self.role == CLIENT else enrolment.keyholders
        return parties.get(self.number)


def card_file(folder: Path, role: str, number: int) -> Path:
    """Return where a party's card lies in its key folder."""
    return folder / f"{role}-{number}.card.json"


def make_party(folder: Path, role: str, number: int) -> Card:
    """Make a party's signing key and card, durable; the private key is written there and nowhere else.

    Guarantee:
        - An existing key or card is never replaced.
        - Interrupted after the key, it is completed by another call: the card is that of the key.

    Args:
        folder: the party's key folder, made with mode 0700 if it is missing.
        role: ``client`` or ``holder``.
        number: of the party.

    Raises:
        UserError: when the card exists, the folder is open to others, or anything cannot be written.
    """
    require_party(role, number)
    party, card_path = _FOLDERS[role](folder, number), card_file(folder, role, number)
    if card_path.exists():
        raise UserError(f"{card_path}: exists already; send it, or name another folder for a new key")
    for each in (folder, party.parent, party):
        make_private_folder(each)
    key_path = signing_key_file(party)
    if not key_path.exists():
        SigningKey.generate().save(key_path)
    card = Card.of(role, number, SigningKey.load(key_path))
    card.save(card_path)
    return card


def parties_in(folder: Path) -> Iterator[Party]:
    """Yield the parties whose signing keys lie in a key folder: clients, then holders, by number.

    Raises:
        UserError: when a signing key is damaged or others may read it.
    """
    for role, place in _FOLDERS.items():
        found = place(folder, 0).parent
        names = [each.name for each in found.iterdir()] if found.is_dir() else []
        for number in sorted(int(n) for n in names if n.isascii() and n.isdecimal() and str(int(n)) == n):
            party = place(folder, number)
            key = signing_key_file(party)
            if key.exists():
                yield Party(role, number, party, SigningKey.load(key).public)


def make_private_folder(folder: Path) -> None:
    """Make a folder of mode 0700 that survives a crash; one that is there must be closed to others.

    Raises:
        UserError: when the folder that it belongs in is missing, or it is open to others.
    """
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        found = folder.lstat().st_mode
        if not stat.S_ISDIR(found):
            raise UserError(f"{folder}: is no folder; name another") from None
        if found & 0o077:
            raise UserError(
                f"{folder}: mode {stat.S_IMODE(found):04o} lets others in; run chmod 700 on it"
            ) from None
        return
    except FileNotFoundError:
        raise UserError(f"{folder}: {folder.parent} is missing; make it first") from None
    sync_folder(folder.parent)
