"""What the gallery's owner does: enrol people, delete them, admit callers."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fedpriv.errors import UserError
from fedpriv.faces.asking import Service
from fedpriv.faces.cards import Caller
from fedpriv.faces.embedder import Embedder, Embeddings
from fedpriv.faces.parties import Person
from fedpriv.faces.register import Register
from fedpriv.formats.identity_folder import list_identities
from fedpriv.he.key_files import write_private
from fedpriv.he.matching.people import MOST_DIMENSIONS, SLOT_FRACTION, Place, enrolment, new_id, unit
from fedpriv.he.users.cipher_reading import CipherReader
from fedpriv.he.users.keys import UserKeys
from fedpriv.he.users.public_keys import PUBLIC_FILE


class Owner:
    """The owner of a gallery, at the server that it is on.

    Attributes:
        keys: of the owner.
        register: of the owner.
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
        self._server = Service(server, self.keys.signer, ca)

    def enrol(self, people: Mapping[str, Sequence[Path]], embedder: Embedder) -> list[Person]:
        """Enrol people, each by the mean of the embeddings of their pictures.

        Guarantee:
            - The server takes all people of a block or none, and is told neither name nor embedding.
            - Somebody whom the server took and the register does not know, because this was ended between the
              two, is never an answer.

        Args:
            people: pictures by name.
            embedder: the same for all people of a gallery.

        Raises:
            UserError: when a name is taken, a picture cannot be read, the gallery is of another key or of
                embeddings of another model, or the server refuses.
        """
        names = list(people)
        if empty := [name for name in names if not people[name]]:
            raise UserError(f"{empty[0]}: has no pictures; give at least one")
        self.register.require_new(names)
        server_key = gallery_of(self._server, self.keys.fingerprint, embedder.dimension)["server_key"]
        self.register.pin(server_key, embedder.digest)
        rows = embedder.read([path for name in names for path in people[name]])
        vectors = means(rows, [len(people[name]) for name in names])
        enrolled: list[Person] = []
        for place in self._free(len(names)):
            part = slice(len(enrolled), len(enrolled) + len(place.slots))
            ids = [new_id() for _ in place.slots]
            self._server.ask("POST", "/v1/people", b"".join(enrolment(self.keys, place, ids, vectors[part])))
            taken = [
                Person(number, name, place.block, slot)
                for number, name, slot in zip(ids, names[part], place.slots, strict=True)
            ]
            self.register.enrol(taken)
            enrolled += taken
        return enrolled

    def delete(self, name: str) -> int:
        """Delete a person, and encrypt anew what others share a segment with them.

        Guarantee:
            - From the first step on the person is no answer. When this returns the server was told to forget
              all that it holds of them: what else is in their segments was encrypted anew.
            - Interrupted at any point it can be run again.

        Returns:
            How many people were encrypted anew.

        Raises:
            UserError: when nobody of that name is enrolled, or the server refuses; run it again then.
        """
        person = self.register.find(name)
        gallery = gallery_of(self._server, self.keys.fingerprint)
        self.register.pin(gallery["server_key"], self.register.pinned()[1])
        stale = self._stale(self._server.ask_json("DELETE", f"/v1/people/{person.id}"))
        again = 0
        for segment, remaining in stale.items():
            if remaining:
                self._again(segment, remaining)
                again += len(remaining)
        # last, so that whoever is interrupted can name the person again
        self.register.remove([person.id])
        return again

    def _again(self, segment: str, remaining: dict[str, tuple[int, int]]) -> None:
        data = self._server.ask("GET", f"/v1/segments/{segment}").body
        ids = sorted(remaining, key=lambda each: remaining[each][1])
        place = Place(remaining[ids[0]][0], tuple(remaining[each][1] for each in ids))
        vectors = opened_segment(self.keys, data, place)
        body = b"".join(enrolment(self.keys, place, ids, vectors))
        self._server.ask("PUT", f"/v1/segments/{segment}", body)

    def _free(self, count: int) -> list[Place]:
        found = self._server.ask_json("GET", f"/v1/free?count={count}")
        try:
            places = [
                Place(int(each["block"]), tuple(int(slot) for slot in each["slots"]))
                for each in found["places"]
            ]
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{self._server.url}: says no places; is it a faces server?") from error
        if sum(len(place.slots) for place in places) != count:
            raise UserError(f"{self._server.url}: gives another number of places than {count}")
        return places

    def _stale(self, found: Mapping[str, Any]) -> dict[str, dict[str, tuple[int, int]]]:
        try:
            return {
                str(name): {str(each): (int(at[0]), int(at[1])) for each, at in people.items()}
                for name, people in found["segments"].items()
            }
        except (AttributeError, KeyError, TypeError, ValueError, IndexError) as error:
            raise UserError(f"{self._server.url}: says no segments; is it a faces server?") from error


def gallery_of(server: Service, fingerprint: str, dimension: int | None = None) -> dict[str, Any]:
    """Return what a server says of its gallery, having compared it with what is here.

    Raises:
        UserError: when it is under another key, or of embeddings of another length.
    """
    found = server.ask_json("GET", "/v1/about")
    types = {"fingerprint": str, "server_key": str, "dimension": int}
    if any(type(found.get(name)) is not kind for name, kind in types.items()):
        raise UserError(f"{server.url}: is no faces server; see its address")
    if found["fingerprint"] != fingerprint:
        raise UserError(
            f"{server.url}: its gallery is under the key {found['fingerprint'][:16]}, and the key here is "
            f"{fingerprint[:16]}; use the folder that belongs to it"
        )
    if dimension is not None and found["dimension"] != dimension:
        raise UserError(
            f"{server.url}: its gallery is of embeddings of {found['dimension']} numbers, the model's have "
            f"{dimension}; use the model that people were enrolled by"
        )
    return found


def opened_segment(keys: UserKeys, data: bytes, place: Place) -> Embeddings:
    """Return the embeddings in some slots of a segment, (n, d).

    Raises:
        FormatError: when ``data`` is no segment of this key's.
        UserError: when it does not decrypt to embeddings.
    """
    source = "segment"
    primes = (keys.set.primes,)
    reader = CipherReader(io.BytesIO(data), keys.public, source=source, most=MOST_DIMENSIONS, primes=primes)
    rows = [keys.decrypt_floats(each, limit=1.01 * SLOT_FRACTION)[list(place.slots)] for each in reader]
    return unit(np.array(rows).T)


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
