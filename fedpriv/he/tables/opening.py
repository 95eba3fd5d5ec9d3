"""Results opened: by whoever has the secret key, or by all holders of its shares."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedpriv.errors import FormatError
from fedpriv.he.tables.computing import MOST_CIPHERTEXTS, MOST_TABLES, RESULT_PRIMES
from fedpriv.he.tables.packing import Packing
from fedpriv.he.tables.plan import MOST_CHUNKS, TablePlan
from fedpriv.he.tables.polynomials import Coefficients
from fedpriv.he.tables.schema import Schema
from fedpriv.he.tables.sums import Integers, values_of
from fedpriv.he.users.cipher_reading import CipherReader, open_ciphers
from fedpriv.he.users.public_keys import PublicKeys
from fedpriv.he.users.sets import ParameterSet

Open = Callable[[Any], NDArray[np.int64]]
"""From a ciphertext to its (N,) slots."""


@dataclass(frozen=True)
class ResultHead:
    """What a result says of itself.

    Attributes:
        schema: of the tables.
        tables: their identities.
        pairs: whether it has sums of pairs of columns.
        chunks: of all tables.
    """

    schema: Schema
    tables: tuple[str, ...]
    pairs: bool
    chunks: int


def kind_of(path: Path, keys: PublicKeys) -> str:
    """Return what a result holds by its own word: ``sums`` or ``scores``.

    Raises:
        UserError: when it is no result, or under another key.
    """
    with open_ciphers(path, keys, most=MOST_CIPHERTEXTS) as reader:
        kind = reader.head.metadata.get("kind")
    if kind == "table":
        raise FormatError(path, None, "is a table, not a result; have it computed: `fedpriv stats compute`")
    if kind not in ("sums", "scores"):
        raise FormatError(path, None, "is no result of `fedpriv stats compute`")
    return str(kind)


def read_values(path: Path, keys: PublicKeys, opens: Open) -> tuple[ResultHead, list[Integers]]:
    """Open a result: what the targets of each block hold, for :func:`fedpriv.he.tables.sums.gather`.

    Edge cases:
        - A server that lies gives other sums than it was asked for: nothing in a result proves what it is of.

    Raises:
        UserError: when it is no result, under another key, damaged, or does not decrypt.
    """
    with open_ciphers(path, keys, most=MOST_CIPHERTEXTS, primes=(RESULT_PRIMES,)) as reader:
        head = result_head(path, reader)
        plan = TablePlan(head.schema)
        blocks = plan.blocks(head.pairs)
        coefficients, packing = Coefficients(keys.set), Packing(keys.set.seal.poly_degree)
        values = [
            values_of(block, plan, packing, coefficients.coefficients(opens(ciphertext)))
            for block, ciphertext in zip(blocks, reader, strict=True)
        ]
    return head, values


def result_head(path: Path, reader: CipherReader) -> ResultHead:
    """Return what a checked header says.

    Raises:
        FormatError: when it is none of a result.
    """
    found = reader.head.metadata
    if found.get("kind") != "sums" or set(found) != {"kind", "schema", "tables", "pairs", "chunks"}:
        raise FormatError(path, None, "is no result of `fedpriv stats compute`")
    schema, tables = Schema.from_json(path, found["schema"]), found["tables"]
    fine = (
        isinstance(tables, list)
        and 1 <= len(tables) <= MOST_TABLES
        and all(_identity(each) for each in tables)
    )
    chunks = found["chunks"]
    if (
        not fine
        or type(found["pairs"]) is not bool
        or type(chunks) is not int
        or not 1 <= chunks <= MOST_CHUNKS
    ):
        raise FormatError(path, None, "is no result of `fedpriv stats compute`: tables, pairs or chunks")
    if reader.head.count != len(TablePlan(schema).blocks(found["pairs"])):
        raise FormatError(path, 128, f"{reader.head.count} ciphertexts are not those of its columns")
    return ResultHead(schema, tuple(tables), found["pairs"], chunks)


def slots_of(parameters: ParameterSet, coefficients: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the slots in (-t/2, t/2] of a plaintext's coefficients."""
    plain = parameters.seal.plain_modulus
    slots = Coefficients(parameters).slots(coefficients).astype(np.int64)
    return np.where(slots > plain // 2, slots - plain, slots)


def _identity(text: object) -> bool:
    return isinstance(text, str) and len(text) == 64 and set(text) <= set("0123456789abcdef")
