"""Files of ciphertexts, received or read again, as what they have to be."""

import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fedpriv.errors import FormatError, UserError
from fedpriv.he.identity import SIGNATURE_BYTES
from fedpriv.he.matching.members import Segment
from fedpriv.he.matching.people import Enrolment, read_enrolment, require_fresh
from fedpriv.he.sealio import SealDataError
from fedpriv.he.users.bodies import Bodies
from fedpriv.he.users.cipher_reading import CipherReader, open_ciphers
from fedpriv.he.users.public_keys import PublicKeys


def inspected(path: Path, keys: PublicKeys, dim: int) -> Enrolment:
    """Return what a received enrolment says, after checking all of it.

    Raises:
        FormatError: when it is none, of other dimensions, damaged, not the owner's, or under another key.
        UserError: when it cannot be read.
    """
    with open_ciphers(path, keys, most=dim, primes=(keys.set.primes,), require_signed=True) as reader:
        enrolled = read_enrolment(path, reader.head)
        require_fresh(path, reader.head)
        if enrolled.dim != dim:
            raise FormatError(path, None, f"{enrolled.dim} dimensions, the gallery has {dim}")
        for _ in reader.bodies():
            pass
    return enrolled


@contextlib.contextmanager
def open_segment(path: Path, keys: PublicKeys, segment: Segment, dim: int) -> Iterator[CipherReader]:
    """Open a segment whose signature or checksum is right and which is the one that the journal names.

    Raises:
        FormatError: for any other file, naming it.
        UserError: when it cannot be read.
    """
    with open_ciphers(
        path, keys, most=dim, primes=(keys.set.primes,), require_signed=segment.signed
    ) as reader:
        if reader.head.count != dim or reader.total_bytes != segment.size:
            raise FormatError(path, None, "is not the file that the journal names; restore it from a copy")
        if segment.signed and read_enrolment(path, reader.head).place != segment.place:
            raise FormatError(path, None, "is not the file that the journal names; restore it from a copy")
        yield reader


def read_columns(path: Path, keys: PublicKeys, segment: Segment, dim: int, dimensions: range) -> list[Any]:
    """Return the ciphertexts of some dimensions; the whole file is checked, and no other ciphertext parsed.

    Raises:
        FormatError, UserError: as :func:`open_segment`.
    """
    with open_segment(path, keys, segment, dim) as reader:
        bodies = Bodies(keys.set, reader.head.shape)
        tail = SIGNATURE_BYTES if reader.head.signed else hashlib.sha256().digest_size
        begin = reader.total_bytes - tail - dim * bodies.size
        columns = []
        try:
            with path.open("rb") as file:
                file.seek(begin + dimensions.start * bodies.size)
                for _ in dimensions:
                    columns.append(bodies.unpack(file.read(bodies.size)))
        except OSError as error:
            raise UserError(f"{path}: cannot read: {error.strerror}; restore it from a copy") from error
        except SealDataError as error:
            raise FormatError(path, None, f"{error}; restore it from a copy") from error
    return columns
