"""What the gallery's owner does: enrol people, delete them, admit callers."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fedpriv.errors import UserError
from fedpriv.faces.asking import Service
from fedpriv.faces.cards import Caller
from fedpriv.faces.embedder import Embedder, Embeddings
from fedpriv.faces.gallery_service import (
    gallery_of,
    is_plain,
    offered,
    opened_segment,
    require_kind,
    sealed,
    stale,
)
from fedpriv.faces.parties import Person
from fedpriv.faces.register import Register
from fedpriv.formats.identity_folder import list_identities
from fedpriv.he.key_files import write_private
from fedpriv.he.matching.people import Place, new_id
from fedpriv.he.matching.places import MOST_PEOPLE
from fedpriv.he.users.keys import UserKeys
from fedpriv.he.users.public_keys import PUBLIC_FILE

_MOST_PLACES = 100_000


class Owner:
    """The owner of a gallery, at the server that it is on; several commands at once wait for each other.

    Attributes:
        keys: of the owner.
        register: of the owner.
        plain: whether the server's gallery is, as of the last that was done.
    """

    def __init__(self, folder: Path, server: str, ca: Path | None = None) -> None:
        """Load keys and register.

        Args:
            folder: with ``secret.key``.
            server: URL.
            ca: see :class:`~fedpriv.faces.asking.Service`.

        Raises:
            UserError: when the keys cannot be read.
        """
        self.keys, self.register = UserKeys.load(folder, "faces"), Register(folder)
        self._server, self.plain = Service(server, self.keys.signer, ca), False

    def enrol(
        self, people: Mapping[str, Sequence[Path]], embedder: Embedder, plain: bool = False
    ) -> list[Person]:
        """Enrol people, each by the mean of the embeddings of their pictures.

        Guarantee:
            - The server takes all people of a block or none, and is told no name and, unless ``plain``, no
              embedding.
            - Somebody whom the server took and the register does not know, because this was ended between the
              two, is never an answer, and is deleted by the owner's next command.
            - Nobody gets a place that somebody had before: a server that was restored from an older copy
              names nobody by another's face.

        Args:
            people: pictures by name.
            embedder: the same for all people of a gallery.
            plain: the server may read the embeddings: its gallery is a plain one.

        Raises:
            UserError: when a name is taken, a picture cannot be read, the gallery is of another key, of
                embeddings of another model or of another kind than ``plain`` says, or the server refuses.
        """
        names = list(people)
        if empty := [name for name in names if not people[name]]:
            raise UserError(f"{empty[0]}: has no pictures; give at least one")
        self.register.require_new(names)
        gallery = gallery_of(self._server, self.keys.fingerprint, embedder.dimension)
        require_kind(self._server, gallery, plain)
        self.plain = plain
        self.register.pin(gallery["server_key"], embedder.digest)
        if embedder.false_accepts is not None:
            self.register.measure(embedder.false_accepts)
        rows = embedder.read([path for name in names for path in people[name]])
        vectors = means(rows, [len(people[name]) for name in names])
        with self.register.alone():
            self._settle()
            self.register.require_new(names)
            return self._enrol(names, vectors)

    def _enrol(self, names: Sequence[str], vectors: Embeddings) -> list[Person]:
        enrolled: list[Person] = []
        for place in self._free(len(names)):
            part = slice(len(enrolled), len(enrolled) + len(place.slots))
            ids = [new_id() for _ in place.slots]
            body = sealed(self.keys, place, ids, vectors[part], self.plain)
            self.register.begin(ids)
            self._server.ask("POST", "/v1/people", body)
            taken = [
                Person(number, name, place.block, slot)
                for number, name, slot in zip(ids, names[part], place.slots, strict=True)
            ]
            self.register.enrol(taken)
            enrolled += taken
        return enrolled

    def delete(self, name: str) -> int:
        """Delete a person, and encrypt anew (sign anew, in clear) what others share a segment with them.

        Guarantee:
            - From the first step on the person is no answer. When this returns the server was told to forget
              all that it holds of them: what else is in their segments was encrypted anew.
            - Interrupted at any point it can be run again.

        Returns:
            How many people were encrypted anew.

        Raises:
            UserError: when nobody of that name is enrolled, or the server refuses; run it again then.
        """
        with self.register.alone():
            person = self.register.leave(name)
            gallery = gallery_of(self._server, self.keys.fingerprint)
            self.register.pin(gallery["server_key"], self.register.pinned()[1])
            self.plain = is_plain(gallery)
            self._settle()
            again = self._renew(self._server.ask_json("DELETE", f"/v1/people/{person.id}"))
            # last, so that whoever is interrupted can name the person again
            self.register.remove([person.id])
        return again

    def _settle(self) -> None:
        """Delete whom an interrupted enrolment may have left at the server."""
        ids = self.register.unfinished()
        for start in range(0, len(ids), MOST_PEOPLE):
            part = ids[start : start + MOST_PEOPLE]
            self._renew(self._server.ask_json("DELETE", "/v1/people", json.dumps({"ids": part}).encode()))
            self.register.abandon(part)

    def _renew(self, found: Mapping[str, Any]) -> int:
        """Encrypt anew whoever is left in the segments that the server names, and return how many."""
        again = 0
        for segment, remaining in stale(self._server, found).items():
            if remaining:
                self._again(segment, remaining)
                again += len(remaining)
        return again

    def _again(self, segment: str, remaining: dict[str, tuple[int, int]]) -> None:
        data = self._server.ask("GET", f"/v1/segments/{segment}").body
        ids = sorted(remaining, key=lambda each: remaining[each][1])
        place = Place(remaining[ids[0]][0], tuple(remaining[each][1] for each in ids))
        # a server that says plain of what is not gets back what it sent, and nothing that was decrypted
        vectors = opened_segment(self.keys, data, place, self.plain)
        body = sealed(self.keys, place, ids, vectors, self.plain)
        self._server.ask("PUT", f"/v1/segments/{segment}", body)

    def _free(self, count: int) -> list[Place]:
        """Return places that nobody ever had, as far as server and register know."""
        wanted = count
        while True:
            found = offered(self._server, wanted)
            at = [(each.block, slot) for each in found for slot in each.slots]
            unused = self.register.unused(at)[:count]
            if len(unused) == count:
                break
            # a server that was restored from an older copy offers places that were given away since
            if wanted >= _MOST_PLACES:
                raise UserError(
                    f"{self._server.url}: its gallery is older than {self.register.path}; restore a newer one"
                )
            wanted = min(2 * wanted, _MOST_PLACES)
        chosen = set(unused)
        slots = [tuple(slot for slot in each.slots if (each.block, slot) in chosen) for each in found]
        places = [Place(each.block, some) for each, some in zip(found, slots, strict=True) if some]
        return places


def admit(folder: Path, name: str, out: Path, budget: int | None) -> str:
    """Make a caller's folder: its key, its card and the public key; return the caller's number.

    Raises:
        UserError: when the name is taken, the folder exists, or the owner's keys cannot be read.
    """
    keys = UserKeys.load(folder, "faces")
    made, register = Caller.make(keys.signer), Register(folder)
    register.require_new_caller(name, budget)
    try:
        out.mkdir(mode=0o700, parents=True)
    except FileExistsError:
        raise UserError(f"{out}: exists already; choose another folder") from None
    made.save(out)
    write_private(out / PUBLIC_FILE, keys.public.to_bytes())
    (out / PUBLIC_FILE).chmod(0o644)
    register.admit(made.card.caller, name, budget)
    return made.card.caller


def identities(folder: Path) -> dict[str, tuple[Path, ...]]:
    """Return the pictures of everybody in a folder of one folder per person.

    Raises:
        UserError: when there is none.
    """
    found = list_identities(folder)
    people = {name: files for name, files in zip(found.names, found.files, strict=True) if files}
    if not people:
        raise UserError(f"{folder}: holds no folders with pictures; give one folder per person")
    return people


def means(rows: Embeddings, counts: Sequence[int]) -> Embeddings:
    """Return for each run of ``counts`` rows the direction of their mean.

    Raises:
        UserError: when some cancel each other.
    """
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(np.int64)
    sums = np.add.reduceat(rows, starts, axis=0)
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    if not (lengths > 1e-6).all():
        raise UserError("pictures: the embeddings of a person cancel each other; leave one out")
    return np.asarray(sums / lengths)
