"""What a key folder, an enrolment or a card holds, without its secrets."""

from collections.abc import Iterator
from pathlib import Path

from fedpriv.enrol.party import parties_in
from fedpriv.enrol.words import grouped, whole
from fedpriv.he.cards import Card
from fedpriv.he.identity import Enrolment
from fedpriv.he.provision import enrolment_file, load_enrolment


def shown(path: Path) -> Iterator[str]:
    """Yield lines about a key folder, a card (``*.card.json``) or else an enrolment.

    Raises:
        UserError: when it is none of them, or damaged.
    """
    if path.is_dir():
        yield from _folder(path)
    elif path.name.endswith(".card.json"):
        card = Card.load(path)
        yield f"{card.role} {card.number}".ljust(13) + grouped(card.fingerprint)
    else:
        yield from whole(Enrolment.load(path))


def _folder(folder: Path) -> Iterator[str]:
    path, none = enrolment_file(folder), True
    enrolment = load_enrolment(folder) if path.exists() else None
    for party in parties_in(folder):
        none = False
        enrolled = enrolment is not None and party.enrolled(enrolment) == party.public
        note = "" if enrolled else "  not enrolled"
        yield f"own key: {party.name}".ljust(22) + grouped(party.fingerprint) + note
    if none:
        yield "own key: none"
    if enrolment is None:
        yield "enrolment: none; get it from the coordinator and accept it"
    else:
        yield from whole(enrolment)
