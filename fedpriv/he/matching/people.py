"""What leaves the owner of a gallery and a caller: people as columns, a probe in every slot.

A block of people is one ciphertext for each dimension, whose slots are the people; a probe is one
ciphertext for each dimension, with the same value in every slot. The score of all people of a block is then
one sum of products (the transposed layout of Boddeti 2018, arXiv 1805.00577, section 5, and HERS, Engelsma
et al. 2020, arXiv 2003.12197, without their rotations).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from fedpriv.errors import FormatError, UserError
from fedpriv.he.matching.places import MOST_PEOPLE, Place, join_ids, new_id, require_id, split_ids
from fedpriv.he.users.cipher_heads import CipherHead
from fedpriv.he.users.cipher_reading import CipherReader
from fedpriv.he.users.cipher_writing import CipherStream
from fedpriv.he.users.keys import UserKeys
from fedpriv.he.users.public_keys import PublicKeys
from fedpriv.he.users.sets import ParameterSet
from fedpriv.he.users.shapes import Shape

__all__ = [
    "SLOT_FRACTION",
    "EncryptedProbe",
    "Enrolment",
    "Place",
    "decrypted",
    "described",
    "encrypted_probe",
    "enrolment",
    "enrolment_in",
    "new_id",
    "read_enrolment",
    "read_probe",
    "require_id",
    "unit",
]

SLOT_FRACTION = 2.0**-8
"""Slots hold this much of a coordinate, so that a product leaves 24 bits of the modulus for blinding."""

MOST_DIMENSIONS = 1024
_ENROLMENT, _PROBE = "enrolment", "probe"


@dataclass(frozen=True)
class Enrolment:
    """What an enrolment says of itself: ``ids[i]`` is in slot ``place.slots[i]``."""

    dim: int
    place: Place
    ids: tuple[str, ...]


@dataclass(frozen=True)
class EncryptedProbe:
    """A probe that was received: a packed ciphertext of ``shape`` for each dimension, checked."""

    shape: Shape
    bodies: tuple[bytes, ...]


def unit(vectors: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Return the rows of (n, d), or (d,), divided by their length, float64.

    Raises:
        UserError: for more than 1,024 dimensions, a row that is zero or not finite.
    """
    rows = np.asarray(vectors, np.float64)
    if rows.ndim not in (1, 2) or not 1 <= rows.shape[-1] <= MOST_DIMENSIONS:
        raise UserError(f"embeddings: shape {rows.shape}; rows of 1 to {MOST_DIMENSIONS} numbers expected")
    lengths = np.linalg.norm(rows, axis=-1, keepdims=True)
    if not (np.isfinite(lengths) & (lengths > 0)).all():
        raise UserError("embeddings: a row is zero or not finite; leave that picture out")
    scaled: NDArray[np.float64] = rows / lengths
    return scaled


def enrolment(
    keys: UserKeys, place: Place, ids: Sequence[str], vectors: NDArray[np.floating[Any]]
) -> Iterator[bytes]:
    """Yield the signed cipher set that puts (n, d) embeddings, scaled to unit length, into ``place``.

    Only the owner of the secret key makes one: its ciphertexts are seeded, half the size.

    Raises:
        UserError, ValueError: as :func:`described`.
    """
    metadata, sorted_place, rows = described(keys.set, place, ids, vectors)
    columns = np.zeros((rows.shape[1], keys.set.slots))
    columns[:, list(sorted_place.slots)] = rows.T * SLOT_FRACTION
    return _sealed(keys, keys, metadata, columns)


def described(
    parameters: ParameterSet, place: Place, ids: Sequence[str], vectors: NDArray[np.floating[Any]]
) -> tuple[dict[str, Any], Place, NDArray[np.float64]]:
    """Return an enrolment's metadata, and its place and (n, d) unit rows in the order of slots.

    Raises:
        UserError: for embeddings that :func:`unit` refuses, too many people, or a name that is none.
        ValueError: when names, slots and rows are not as many, or a name or slot is there twice.
    """
    rows = unit(vectors)
    if not (len(rows) == len(ids) == len(set(ids)) == len(set(place.slots)) == len(place.slots)):
        raise ValueError("ids, slots, rows: not as many, or one is there twice")
    if not 1 <= len(ids) <= MOST_PEOPLE:
        raise UserError(f"enrolment: {len(ids)} people; give 1 to {MOST_PEOPLE} at a time")
    order = np.argsort(place.slots)
    sorted_place = Place(place.block, tuple(place.slots[index] for index in order))
    metadata = {
        "kind": _ENROLMENT,
        "dim": rows.shape[1],
        "place": sorted_place.to_json(parameters.slots),
        "ids": join_ids([require_id(ids[index]) for index in order]),
    }
    return metadata, sorted_place, rows[order]


def read_enrolment(source: object, head: CipherHead) -> Enrolment:
    """Return what the metadata of a received set says; raises as :func:`enrolment_in`."""
    return enrolment_in(source, head.metadata, head.set, head.count)


def enrolment_in(source: object, data: dict[str, Any], parameters: ParameterSet, dim: int) -> Enrolment:
    """Return what metadata say of an enrolment of ``dim`` dimensions.

    Raises:
        FormatError: when it is no enrolment, or says what cannot be.
    """
    if data.get("kind") != _ENROLMENT or data.keys() != {"kind", "dim", "place", "ids"}:
        raise FormatError(source, None, "no enrolment; name the file of an enrolment")
    try:
        place = Place.from_json(data["place"], parameters)
        ids = tuple(split_ids(data["ids"], len(place.slots)))
    except ValueError as error:
        raise FormatError(source, None, f"enrolment: {error}") from error
    if len(ids) > MOST_PEOPLE or type(data["dim"]) is not int or data["dim"] != dim:
        raise FormatError(source, None, f"enrolment: {dim} ciphertexts, one for each dimension expected")
    return Enrolment(dim, place, ids)


def decrypted(keys: UserKeys, stream: BinaryIO, slots: Sequence[int], source: object) -> NDArray[np.float64]:
    """Return the (n, d) embeddings in some slots of a segment, for its owner to encrypt anew.

    Exact to about 2^-34; not to be shown to anybody who sees the ciphertexts.

    Raises:
        FormatError: when it is no segment under this key, or damaged.
    """
    reader = CipherReader(stream, keys.public, source=source, most=MOST_DIMENSIONS)
    require_fresh(source, reader.head)
    columns = [keys.decrypt_floats(each, limit=1.0)[list(slots)] for each in reader]
    return np.stack(columns, axis=1) / SLOT_FRACTION


def encrypted_probe(keys: UserKeys | PublicKeys, vector: NDArray[np.floating[Any]]) -> Iterator[bytes]:
    """Yield the cipher set of one (d,) embedding, scaled to unit length, in every slot.

    With the secret key 16 MB for 128 dimensions; with the public one, as a caller has it, 31 MB.

    Raises:
        UserError: as :func:`unit`.
    """
    row = unit(vector)
    if row.ndim != 1:
        raise ValueError(f"vector: shape {row.shape}, one row expected")
    metadata = {"kind": _PROBE, "dim": len(row)}
    return _sealed(
        keys, None, metadata, np.repeat(row[:, np.newaxis] * SLOT_FRACTION, keys.set.slots, axis=1)
    )


def read_probe(stream: BinaryIO, keys: PublicKeys, dim: int, source: object) -> EncryptedProbe:
    """Receive a probe of ``dim`` dimensions; nothing is allocated for what its header claims.

    Raises:
        FormatError: when it is none, of other dimensions, under another key, cut short or damaged.
    """
    reader = CipherReader(stream, keys, source=source, most=dim, primes=(keys.set.primes,))
    head = reader.head
    if head.metadata != {"kind": _PROBE, "dim": dim} or head.count != dim:
        raise FormatError(
            source, None, f"no probe of {dim} dimensions; use the model that people were enrolled by"
        )
    require_fresh(source, head)
    return EncryptedProbe(head.shape, tuple(reader.bodies()))


def require_fresh(source: object, head: CipherHead) -> None:
    """Refuse what is not of the scale of a fresh ciphertext, under which all scores are read.

    Raises:
        FormatError: when it is not.
    """
    if head.shape.scale != head.set.scale:
        raise FormatError(source, None, f"scale {head.shape.scale:g}, {head.set.scale:g} expected")


def _sealed(
    keys: UserKeys | PublicKeys,
    owner: UserKeys | None,
    metadata: dict[str, Any],
    columns: NDArray[np.float64],
) -> Iterator[bytes]:
    encryptor = keys.encryptor()
    head = CipherHead(
        keys.set, keys.fingerprint, encryptor.shape, len(columns), metadata, signed=owner is not None
    )
    stream = CipherStream(head, owner.signer if owner else None)
    yield stream.head()
    for column in columns:
        yield stream.body(encryptor.floats(column))
    yield stream.tail()
