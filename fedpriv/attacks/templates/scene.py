"""A gallery, its key holder and an admitted caller who attacks: the real ones, without the HTTP between."""

import contextlib
import io
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fedpriv.attacks.templates.population import Vectors
from fedpriv.faces.bodies import Opened
from fedpriv.faces.cards import Caller
from fedpriv.faces.holding import KeyHolder, KeyHolderSettings
from fedpriv.faces.parties import Person
from fedpriv.faces.tickets import Ticket
from fedpriv.he.identity import SigningKey
from fedpriv.he.matching.gallery import Gallery
from fedpriv.he.matching.matcher import Matcher
from fedpriv.he.matching.people import SLOT_FRACTION, EncryptedProbe, enrolment, new_id, read_probe
from fedpriv.he.users.cipher_heads import CipherHead
from fedpriv.he.users.cipher_writing import CipherStream
from fedpriv.he.users.keys import UserKeys
from fedpriv.he.users.public_keys import PublicKeys
from fedpriv.he.users.sets import SETS
from fedpriv.scratch import private_folder


@dataclass
class Scene:
    """Asks the server and takes its tickets to the key holder, as a caller does.

    Attributes:
        keys: of the gallery; an attacker uses the public ones only.
        asked: tickets taken to the key holder.
    """

    keys: UserKeys
    gallery: Gallery
    matcher: Matcher
    holder: KeyHolder
    server: SigningKey
    caller: str
    people: list[Person]
    threshold: float
    asked: int = 0

    def score(self, person: int, probe: Vectors) -> float:
        """Return the score that the key holder tells.

        Raises:
            Refusal: when it tells none.
        """
        question = self.matcher.scores(probe, [self.people[person].id]).to_bytes()
        opened = self._open(Ticket("scores", self.caller, "", -1.0, _now(), ""), question)
        return (opened.scores or {})[self.people[person].name]

    def accepts(self, person: int, probe: Vectors | EncryptedProbe) -> bool:
        """Return whether the key holder accepts a probe as one of the people.

        Raises:
            Refusal: when it does not answer.
        """
        target = self.people[person].id
        question = self.matcher.verify(probe, target, self.threshold).to_bytes()
        ticket = Ticket("verify", self.caller, target, self.threshold, _now(), "")
        return bool(self._open(ticket, question).accepted)

    def _open(self, ticket: Ticket, question: bytes) -> Opened:
        self.asked += 1
        return self.holder.open(self.caller, ticket.seal(question, self.server), _now())[1]


@contextlib.contextmanager
def scene(templates: Vectors, threshold: float, budget: int, raw_scores: bool) -> Iterator[Scene]:
    """Enrol (n, d) templates with keys made for it, in a folder that goes away."""
    with private_folder() as folder:
        owner = folder / "owner"
        owner.mkdir(mode=0o700)
        keys = UserKeys.make(SETS["faces"])
        keys.save(owner)
        settings = KeyHolderSettings(owner=owner, threshold=threshold, budget=budget, raw_scores=raw_scores)
        holder, server = KeyHolder(settings), SigningKey.generate()
        gallery = Gallery.make(folder / "gallery", keys.public, templates.shape[1])
        people = _enrolled(gallery, keys, templates)
        card = Caller.make(keys.signer).card
        holder.register.pin(server.public.hex(), "0" * 64)
        holder.register.enrol(people)
        holder.register.admit(card.caller, "attacker", None)
        with Matcher(gallery) as matcher:
            yield Scene(keys, gallery, matcher, holder, server, card.caller, people, threshold)


def forged_probe(public: PublicKeys, vector: Vectors) -> EncryptedProbe:
    """Encrypt a probe of any length, which ``encrypted_probe`` would bring to 1."""
    encryptor = public.encryptor()
    metadata = {"kind": "probe", "dim": len(vector)}
    head = CipherHead(public.set, public.fingerprint, encryptor.shape, len(vector), metadata, signed=False)
    stream = CipherStream(head)
    bodies = (stream.body(encryptor.constant(float(value) * SLOT_FRACTION)) for value in vector)
    data = b"".join([stream.head(), *bodies, stream.tail()])
    return read_probe(io.BytesIO(data), public, len(vector), "probe")


def _enrolled(gallery: Gallery, keys: UserKeys, templates: Vectors) -> list[Person]:
    (place,) = gallery.free(len(templates))
    ids = [new_id() for _ in templates]
    path: Path = gallery.inbox / "templates"
    path.write_bytes(b"".join(enrolment(keys, place, ids, np.asarray(templates))))
    gallery.add(path)
    return [
        Person(each, f"target {index}", place.block, slot)
        for index, (each, slot) in enumerate(zip(ids, place.slots, strict=True))
    ]


def _now() -> int:
    return time.time_ns() // 1_000_000
