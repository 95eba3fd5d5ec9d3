"""What a faces server says of its gallery, as its owner and callers read it."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fedpriv.errors import FormatError, UserError
from fedpriv.faces.asking import Service
from fedpriv.faces.embedder import Embeddings
from fedpriv.he.matching.people import MOST_DIMENSIONS, SLOT_FRACTION, Place, enrolment, unit
from fedpriv.he.matching.plain_files import plain_enrolment, read_plain
from fedpriv.he.users.cipher_reading import CipherReader
from fedpriv.he.users.keys import UserKeys


def gallery_of(server: Service, fingerprint: str, dimension: int | None = None) -> dict[str, Any]:
    """Return what a server says of its gallery, having compared it with what is here.

    Raises:
        UserError: when it is under another key, or of embeddings of another length.
    """
    found = server.ask_json("GET", "/v1/about")
    types = {"fingerprint": str, "server_key": str, "dimension": int, "people": int}
    if any(type(found.get(name)) is not kind for name, kind in types.items()):
        raise UserError(f"{server.url}: is no faces server; see its address")
    if found["fingerprint"] != fingerprint:
        raise UserError(
            f"{server.url}: its gallery is under the key {found['fingerprint'][:16]}, and the key here is "
            f"{fingerprint[:16]}; use the folder that belongs to it"
        )
    if dimension is not None and found["dimension"] != dimension:
        mend = (
            "use the model that people were enrolled by"
            if found["people"]
            else "nobody is enrolled yet: begin another gallery with `fedpriv faces serve --folder NEW "
            f"--dimension {dimension}`"
        )
        raise UserError(
            f"{server.url}: its gallery is of embeddings of {found['dimension']} numbers, the model's have "
            f"{dimension}; {mend}"
        )
    return found


def is_plain(gallery: Mapping[str, Any]) -> bool:
    """Return whether a server says that its gallery is in clear."""
    return gallery.get("gallery") == "plain"


def require_kind(server: Service, gallery: Mapping[str, Any], plain: bool) -> None:
    """Refuse to enrol in clear where the gallery is encrypted, or the other way round.

    Raises:
        UserError: naming both.
    """
    if is_plain(gallery) == plain:
        return
    begin = "begin another with `fedpriv faces serve --folder NEW --gallery"
    if plain:
        raise UserError(
            f"{server.url}: its gallery is encrypted, and --plain would show it faces; leave --plain out, or "
            f"{begin} plain`"
        )
    raise UserError(
        f"{server.url}: its gallery is plain: the server would read every template; say --plain if it may, "
        f"or {begin} encrypted`"
    )


def sealed(keys: UserKeys, place: Place, ids: Sequence[str], vectors: Embeddings, plain: bool) -> bytes:
    """Return an enrolment, signed; encrypted unless ``plain``."""
    if plain:
        return plain_enrolment(keys, place, ids, vectors)
    return b"".join(enrolment(keys, place, ids, vectors))


def opened_segment(keys: UserKeys, data: bytes, place: Place, plain: bool = False) -> Embeddings:
    """Return the embeddings in some slots of a segment, (n, d); of a plain one nothing is decrypted.

    Raises:
        FormatError: when ``data`` is no segment of this key's.
        UserError: when it does not decrypt to embeddings.
    """
    source = "segment"
    if plain:
        found = read_plain(source, data, keys.public)
        at = {slot: row for row, slot in enumerate(found.enrolled.place.slots)}
        if not set(place.slots) <= at.keys():
            raise FormatError(source, None, "holds other people than the server says; ask it again")
        return found.rows[[at[slot] for slot in place.slots]]
    primes = (keys.set.primes,)
    reader = CipherReader(io.BytesIO(data), keys.public, source=source, most=MOST_DIMENSIONS, primes=primes)
    rows = [keys.decrypt_floats(each, limit=1.01 * SLOT_FRACTION)[list(place.slots)] for each in reader]
    return unit(np.array(rows).T)


def offered(server: Service, count: int) -> list[Place]:
    """Return where a server would have the next people put.

    Raises:
        UserError: when it says something else.
    """
    found = server.ask_json("GET", f"/v1/free?count={count}")
    try:
        places = [
            Place(int(each["block"]), tuple(int(slot) for slot in each["slots"])) for each in found["places"]
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{server.url}: says no places; is it a faces server?") from error
    if sum(len(place.slots) for place in places) != count:
        raise UserError(f"{server.url}: gives another number of places than {count}")
    return places


def stale(server: Service, found: Mapping[str, Any]) -> dict[str, dict[str, tuple[int, int]]]:
    """Return which segments to encrypt anew, and who is left in them at which block and slot.

    Raises:
        UserError: when the server says something else.
    """
    try:
        return {
            str(name): {str(each): (int(at[0]), int(at[1])) for each, at in people.items()}
            for name, people in found["segments"].items()
        }
    except (AttributeError, KeyError, TypeError, ValueError, IndexError) as error:
        raise UserError(f"{server.url}: says no segments; is it a faces server?") from error
