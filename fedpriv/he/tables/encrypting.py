"""A table as a cipher set: what its owner hands to a server."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedpriv.he.identity import SigningKey
from fedpriv.he.tables.csv_table import CsvTable, spelled
from fedpriv.he.tables.packing import ACROSS, Packing
from fedpriv.he.tables.plan import Factor, TablePlan, require_room
from fedpriv.he.tables.polynomials import Coefficients
from fedpriv.he.tables.schema import Schema
from fedpriv.he.tables.vectors import TableVectors
from fedpriv.he.users.cipher_heads import CipherHead
from fedpriv.he.users.cipher_writing import CipherWriter
from fedpriv.he.users.encrypting import Encryptor
from fedpriv.progress import track

_IDENTITY = b"fedpriv table 1\0"


def write_encrypted(
    path: Path,
    vectors: TableVectors,
    schema: Schema,
    encryptor: Encryptor,
    key: str,
    identity: str,
    signer: SigningKey | None = None,
) -> int:
    """Write a table, one ciphertext in memory at a time.

    What the file shows: the schema, the number of rows rounded up to whole chunks, and whose key it is under.

    Guarantee:
        - Every cell, and whether there is one, is encrypted; padding cannot be told from rows.
        - The sums of this table alone, and so its statistics, come out exact.

    Args:
        path: where; nothing is there before it is whole.
        vectors: the table's integers.
        schema: that they are of.
        encryptor: under the secret key (half the size) or the public one.
        key: fingerprint of the key pair.
        identity: see :func:`table_identity`.
        signer: the owner's, if the table is to be signed.

    Returns:
        How many bytes were written.

    Raises:
        UserError: when sums might not fit (:func:`~fedpriv.he.tables.plan.require_room`), or it cannot be
            written.
    """
    packing = Packing(encryptor.set.seal.poly_degree)
    plan, chunks = TablePlan(schema), packing.chunks(vectors.rows)
    require_room(schema, encryptor.set, chunks)
    metadata = {"kind": "table", "schema": schema.to_json(), "table": identity}
    count = chunks * len(plan.factors)
    head = CipherHead(encryptor.set, key, encryptor.shape, count, metadata, signer is not None)
    coefficients = Coefficients(encryptor.set)
    with CipherWriter(path, head, signer) as writer:
        for polynomial in track(_polynomials(vectors, plan, packing), "encrypt", count):
            writer.write(encryptor.unsigned(coefficients.slots(polynomial)))
    return path.stat().st_size


def table_identity(table: CsvTable, secret: bytes) -> str:
    """Return a name for a table's content that nobody without ``secret`` can try a guess against.

    A privacy ledger counts releases of a table by it. It is of all cells of the file, in whatever order of
    rows and columns, and so the same for every schema that the table is encrypted by.
    """
    order = sorted(range(len(table.names)), key=lambda number: spelled(table.names[number]))
    columns = [table.columns[number] for number in order]
    rows = sorted(
        hashlib.blake2b(repr(cells).encode(), key=secret, digest_size=32).digest()
        for cells in zip(*columns, strict=True)
    )
    digest = hashlib.blake2b(_IDENTITY, key=secret, digest_size=32)
    digest.update(repr([spelled(table.names[number]) for number in order]).encode())
    digest.update(b"".join(rows))
    return digest.hexdigest()


def _polynomials(vectors: TableVectors, plan: TablePlan, packing: Packing) -> Iterator[NDArray[np.int64]]:
    for start in range(0, vectors.rows, packing.chunk):
        rows = slice(start, start + packing.chunk)
        for factor in plan.factors:
            chosen = _vectors(vectors, plan, factor, rows)
            yield packing.right(chosen) if factor.right else packing.left(chosen)


def _vectors(vectors: TableVectors, plan: TablePlan, factor: Factor, rows: slice) -> NDArray[np.int64]:
    first = ACROSS * factor.pack
    columns = slice(first, first + plan.size(factor))
    if factor.kind == "h":
        return np.stack([vectors.bins[c][rows] == b for c, b in plan.bins[columns]]).astype(np.int64)
    cells = (vectors.masks if factor.kind == "m" else vectors.values)[columns, rows]
    if factor.kind == "q":
        cells = cells * cells
    return cells if factor.right else cells * (vectors.parts[rows] == factor.scope)
