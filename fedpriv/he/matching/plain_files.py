"""Enrolments in clear, for a gallery whose server may read it: probes alone are encrypted.

Layout, little-endian: magic ``FPPT``, version u16, flags u16 (1 signed), fingerprint of the key pair that
probes are under 32 bytes, bytes of metadata u32; the metadata, a JSON object of the fields that encrypted
enrolments have; a row of float64 for each person, in the order of their slots; and the signature (64 bytes)
of the key's owner, or, of what the server merged, the SHA-256 (32 bytes) of all before it.
"""

import hashlib
import hmac
import json
import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedpriv.errors import FormatError, UserError
from fedpriv.he.identity import SIGNATURE_BYTES, verify
from fedpriv.he.key_files import read_public, write_private
from fedpriv.he.matching.members import Segment
from fedpriv.he.matching.people import MOST_DIMENSIONS, Enrolment, described, enrolment_in
from fedpriv.he.matching.places import MOST_PEOPLE, Place
from fedpriv.he.users.cipher_heads import MAGIC as CIPHERS
from fedpriv.he.users.cipher_heads import MOST_METADATA, read_metadata
from fedpriv.he.users.keys import UserKeys
from fedpriv.he.users.public_keys import PublicKeys

MAGIC = b"FPPT"

_SIGNED = b"fedpriv-plain-templates-1\0"
_VERSION = 1
_HEAD = struct.Struct("<4sHH32sI")
_DIGEST_BYTES = 32
_MOST_BYTES = _HEAD.size + MOST_METADATA + 8 * MOST_PEOPLE * MOST_DIMENSIONS + SIGNATURE_BYTES
_UNIT = 1e-9


@dataclass(frozen=True)
class PlainTemplates:
    """What a file in clear holds.

    Attributes:
        enrolled: who is where; of what the server merged ids are empty.
        rows: (n, d) float64 of length 1, in the order of ``enrolled.place.slots``.
        signed: by the owner; otherwise merged by the server.
    """

    enrolled: Enrolment
    rows: NDArray[np.float64]
    signed: bool


def plain_enrolment(
    keys: UserKeys, place: Place, ids: Sequence[str], vectors: NDArray[np.floating[Any]]
) -> bytes:
    """Return the signed enrolment in clear of (n, d) embeddings, scaled to unit length, for ``place``.

    Raises:
        UserError, ValueError: as :func:`~fedpriv.he.matching.people.enrolment`.
    """
    metadata, _, rows = described(keys.set, place, ids, vectors)
    content = _content(keys.public, metadata, rows, signed=True)
    return content + keys.signer.sign(_SIGNED + hashlib.sha256(content).digest())


def read_plain(source: object, data: bytes, keys: PublicKeys) -> PlainTemplates:
    """Return what ``data`` is, having checked all of it.

    Raises:
        FormatError: when it is no such file, damaged, under another key, or a row is no template.
    """
    if len(data) < _HEAD.size or not data.startswith(MAGIC):
        raise FormatError(source, 0, "no templates in clear; name another file")
    _, version, flags, key, size = _HEAD.unpack_from(data)
    if version != _VERSION or flags > 1:
        raise FormatError(
            source, 4, f"version {version}, flags {flags:#x}; this program reads version {_VERSION}"
        )
    keys.require(key.hex(), source)
    begin, signed = _HEAD.size + size, bool(flags)
    end = len(data) - (SIGNATURE_BYTES if signed else _DIGEST_BYTES)
    if size > MOST_METADATA or begin > end:
        raise FormatError(source, 40, f"{size} bytes of metadata, of {len(data)} in all; get it again")
    _require_whole(source, data[:end], data[end:], keys if signed else None)
    enrolled = _enrolled(source, read_metadata(source, data[_HEAD.size : begin]), keys, signed)
    count = len(enrolled.place.slots)
    if end - begin != 8 * count * enrolled.dim:
        raise FormatError(
            source, begin, f"{end - begin} bytes, {count} rows of {enrolled.dim} float64 expected"
        )
    rows = np.frombuffer(data, "<f8", count * enrolled.dim, begin).reshape(count, enrolled.dim)
    # also refuses NaN
    if not (np.abs(np.linalg.norm(rows, axis=1) - 1.0) <= _UNIT).all():
        raise FormatError(source, begin, "a template is not of length 1; enrol that person anew")
    return PlainTemplates(enrolled, rows.astype(np.float64), signed)


def require_kind(path: Path, plain: bool) -> None:
    """Refuse a received file that is in clear for a gallery that is not, or the other way round.

    Raises:
        FormatError: naming both.
        UserError: when it cannot be read.
    """
    try:
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            begin = file.read(len(MAGIC))
    except OSError as error:
        raise UserError(f"{path}: cannot read: {error.strerror}; name another") from error
    if begin == (CIPHERS if plain else MAGIC):
        said, gallery = ("encrypted", "plain") if plain else ("in clear", "encrypted")
        raise FormatError(
            path, 0, f"an enrolment {said}, and this gallery is {gallery}, all of it; begin another one"
        )


def inspected_plain(path: Path, keys: PublicKeys, dim: int) -> Enrolment:
    """Return what a received enrolment in clear says, after checking all of it.

    Raises:
        FormatError: when it is none, of other dimensions, damaged, not the owner's, or under another key.
        UserError: when it cannot be read.
    """
    found = read_plain(path, read_public(path, _MOST_BYTES), keys)
    if not found.signed:
        raise FormatError(path, 6, "not signed; its owner's is needed")
    if found.enrolled.dim != dim:
        raise FormatError(path, None, f"{found.enrolled.dim} dimensions, the gallery has {dim}")
    return found.enrolled


def read_rows(path: Path, keys: PublicKeys, segment: Segment, dim: int) -> NDArray[np.float64]:
    """Return the (n, dim) templates of a segment, in the order of ``segment.place.slots``.

    Raises:
        FormatError: for any file but the one that the journal names, naming it.
        UserError: when it cannot be read.
    """
    data = read_public(path, _MOST_BYTES)
    found = read_plain(path, data, keys)
    said = (len(data), found.signed, found.enrolled.dim, found.enrolled.place)
    if said != (segment.size, segment.signed, dim, segment.place):
        raise FormatError(path, None, "is not the file that the journal names; restore it from a copy")
    return found.rows


def write_merged(target: Path, keys: PublicKeys, parts: Sequence[tuple[Path, Segment]], dim: int) -> None:
    """Write the rows of segments of one block into one file, unsigned, of mode 0600.

    Raises:
        FormatError: when a segment is damaged; nothing is written then.
        UserError: when it cannot be written.
    """
    slots = np.array([slot for _, segment in parts for slot in segment.place.slots])
    rows = np.concatenate([read_rows(path, keys, segment, dim) for path, segment in parts])
    order = np.argsort(slots)
    place = Place(parts[0][1].place.block, tuple(slots[order].tolist()))
    metadata = {"kind": "sum", "dim": dim, "place": place.to_json(keys.set.slots)}
    content = _content(keys, metadata, rows[order], signed=False)
    # synced by who moves it
    data = content + hashlib.sha256(content).digest()
    write_private(target, data, durable=False, replace=True, what="templates")


def _content(keys: PublicKeys, metadata: dict[str, Any], rows: NDArray[np.float64], signed: bool) -> bytes:
    text = json.dumps(metadata, sort_keys=True, separators=(",", ":")).encode()
    head = _HEAD.pack(MAGIC, _VERSION, int(signed), bytes.fromhex(keys.fingerprint), len(text))
    return head + text + rows.astype("<f8").tobytes()


def _require_whole(source: object, content: bytes, tail: bytes, keys: PublicKeys | None) -> None:
    digest = hashlib.sha256(content).digest()
    if keys is not None and not verify(keys.verify_key, _SIGNED + digest, tail):
        raise FormatError(source, None, "the signature of the key's owner does not check; get it again")
    if keys is None and not hmac.compare_digest(digest, tail):
        raise FormatError(source, None, "damaged (its checksum differs); get it again")


def _enrolled(source: object, data: dict[str, Any], keys: PublicKeys, signed: bool) -> Enrolment:
    dim = data.get("dim")
    if type(dim) is not int or not 1 <= dim <= MOST_DIMENSIONS:
        raise FormatError(source, None, f"dimensions: 1 to {MOST_DIMENSIONS} expected")
    if signed:
        return enrolment_in(source, data, keys.set, dim)
    try:
        if data.get("kind") != "sum" or data.keys() != {"kind", "dim", "place"}:
            raise ValueError("no sum of enrolments")
        return Enrolment(dim, Place.from_json(data["place"], keys.set), ())
    except ValueError as error:
        raise FormatError(source, None, f"{error}; restore it from a copy") from error
