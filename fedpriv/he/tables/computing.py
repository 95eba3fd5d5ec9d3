"""What the server does: sums of products of encrypted columns, with public keys only."""

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedpriv.errors import FormatError, UserError
from fedpriv.he.tables.packing import Packing
from fedpriv.he.tables.plan import Block, Factor, TablePlan, require_room, shared_schema
from fedpriv.he.tables.polynomials import Coefficients
from fedpriv.he.tables.processes import in_processes
from fedpriv.he.tables.schema import Schema
from fedpriv.he.users.bodies import Bodies
from fedpriv.he.users.cipher_heads import HEAD_BYTES, MOST_METADATA, CipherHead
from fedpriv.he.users.cipher_reading import CipherReader, open_ciphers
from fedpriv.he.users.cipher_writing import CipherWriter
from fedpriv.he.users.evaluation import Evaluation
from fedpriv.he.users.public_keys import PublicKeys
from fedpriv.he.users.shapes import Shape
from fedpriv.privacy.noise import SecureSource

MOST_TABLES = 100
MOST_CIPHERTEXTS = 1 << 24
RESULT_PRIMES = 2
FLOOD_PRIMES, FLOOD_LOG2 = 3, 74
"""Level and width of the noise that hides what products leave. That is below 2^19 for one chunk at that
level, as measured with values as large as they may be, and so below 2^31 for MOST_CHUNKS: a statistical
distance of at most N 2^(19 - 73) = 2^-40 a ciphertext for one chunk, 2^-28 for all."""

_MOST_AT_ONCE = 256
"""Running sums in memory, 1.5 MB each."""


@dataclass(frozen=True)
class Opened:
    """What the headers of some tables say.

    Attributes:
        schema: that they share.
        identities: of the tables.
        chunks: of rows, of each.
    """

    schema: Schema
    identities: tuple[str, ...]
    chunks: tuple[int, ...]


def inspect(tables: Sequence[Path], keys: PublicKeys) -> Opened:
    """Read the headers of tables that are to be pooled.

    Raises:
        UserError: when there is none, one twice, schemas differ, a file is under another key or no table, or
            sums of all might not fit.
    """
    if not 1 <= len(tables) <= MOST_TABLES:
        raise UserError(f"tables: {len(tables)}, name 1 to {MOST_TABLES}")
    schemas: list[tuple[object, Schema]] = []
    identities: dict[str, Path] = {}
    chunks: list[int] = []
    for path in tables:
        with open_ciphers(path, keys, most=MOST_CIPHERTEXTS) as reader:
            schema, identity = table_head(path, reader)
            schemas.append((path, schema))
            chunks.append(reader.head.count // len(TablePlan(schema).factors))
        if identity in identities:
            raise UserError(f"{path}: is the same table as {identities[identity]}; name it once")
        identities[identity] = path
    schema = shared_schema(schemas)
    require_room(schema, keys.set, sum(chunks))
    return Opened(schema, tuple(identities), tuple(chunks))


def table_head(source: object, reader: CipherReader) -> tuple[Schema, str]:
    """Return schema and identity of a table from its checked header.

    Raises:
        FormatError: when it is no table.
    """
    metadata = reader.head.metadata
    if metadata.get("kind") != "table" or set(metadata) != {"kind", "schema", "table"}:
        raise FormatError(source, None, "is no encrypted table; make one with `fedpriv stats encrypt`")
    schema = Schema.from_json(source, metadata["schema"])
    identity = metadata["table"]
    if not (isinstance(identity, str) and len(identity) == 64 and set(identity) <= set("0123456789abcdef")):
        raise FormatError(source, None, "names no table; encrypt it again")
    if reader.head.count == 0 or reader.head.count % len(TablePlan(schema).factors):
        raise FormatError(source, 128, f"{reader.head.count} ciphertexts are no whole chunks of its columns")
    return schema, identity


def bytes_of_result(tables: Sequence[Path], keys: PublicKeys, pairs: bool, scores: bool) -> int:
    """Return how many bytes the result of some tables has at most, by their headers alone.

    Args:
        tables: encrypted under ``keys``.
        keys: public.
        pairs: see :func:`write_sums`.
        scores: whether those of rows are wanted instead of sums.

    Raises:
        UserError: when one is no table, or has no pairs of columns.
    """
    chunks, blocks = 0, 0
    for path in tables:
        with path.open("rb") as file:
            reader = CipherReader(file, keys, source=path, most=MOST_CIPHERTEXTS)
        plan = TablePlan(table_head(path, reader)[0])
        chunks += reader.head.count // len(plan.factors)
        blocks = max(blocks, 0 if scores else len(plan.blocks(pairs)))
    each = Bodies(keys.set, Shape(2, RESULT_PRIMES)).size
    return HEAD_BYTES + MOST_METADATA + (chunks if scores else blocks) * each + hashlib.sha256().digest_size


def write_sums(path: Path, tables: Sequence[Path], keys: PublicKeys, pairs: bool, workers: int = 1) -> int:
    """Write the encrypted sums over all rows of all tables; return how many ciphertexts.

    Guarantee:
        - Whoever opens the result learns the sums of :meth:`TablePlan.blocks` and nothing else: all other
          coefficients are uniformly random, and so is, to the distance above, the noise.
        - The file appears only when every table was read whole and its signature or checksum held.

    Args:
        path: of the result, unsigned.
        tables: encrypted under ``keys``, of one schema.
        keys: public.
        pairs: whether for pairs of columns, too: covariance, correlation, weighted means.
        workers: processes.

    Raises:
        UserError: as :func:`inspect`, and for a damaged table.
    """
    found = inspect(tables, keys)
    blocks = TablePlan(found.schema).blocks(pairs)
    metadata = {
        "kind": "sums",
        "schema": found.schema.to_json(),
        "tables": list(found.identities),
        "pairs": pairs,
        "chunks": sum(found.chunks),
    }
    head = CipherHead(keys.set, keys.fingerprint, Shape(2, RESULT_PRIMES), len(blocks), metadata, False)
    with CipherWriter(path, head) as writer:
        for body in _all_sums(tables, keys, found.schema, blocks, workers):
            writer.write(body)
    return len(blocks)


def _all_sums(
    tables: Sequence[Path], keys: PublicKeys, schema: Schema, blocks: list[Block], workers: int
) -> Iterator[bytes]:
    step = min(_MOST_AT_ONCE, -(-len(blocks) // max(workers, 1)))
    parts = [blocks[start : start + step] for start in range(0, len(blocks), step)]
    if workers <= 1 or len(parts) == 1:
        for part in parts:
            yield from block_sums(tables, keys, schema, part)
        return
    calls = [(list(tables), keys.to_bytes(), schema.to_json(), part) for part in parts]
    for bodies in in_processes(_worker, calls, workers):
        yield from bodies


def _worker(tables: list[Path], key: bytes, schema: dict[str, Any], blocks: list[Block]) -> list[bytes]:
    keys = PublicKeys.from_bytes(key, "public key", "table")
    return block_sums(tables, keys, Schema.from_json("schema", schema), blocks)


def block_sums(tables: Sequence[Path], keys: PublicKeys, schema: Schema, blocks: list[Block]) -> list[bytes]:
    """Return the packed sums of some blocks over all rows of all tables."""
    evaluation, plan = Evaluation(keys), TablePlan(schema)
    sums: list[Any] = [None] * len(blocks)
    for path in tables:
        with open_ciphers(path, keys, most=MOST_CIPHERTEXTS) as reader:
            for chunk in chunks_of(iter(reader), plan, blocks):
                for place, block in enumerate(blocks):
                    term = chunk[block.left]
                    if block.right.kind != "1":
                        term = evaluation.multiply(term, chunk[block.right])
                    sums[place] = term if sums[place] is None else evaluation.add(sums[place], term)
    finishing = Finishing(evaluation)
    return [finishing.sums(total, block, plan) for total, block in zip(sums, blocks, strict=True)]


def chunks_of(
    ciphertexts: Iterator[Any], plan: TablePlan, blocks: Sequence[Block]
) -> Iterator[dict[Factor, Any]]:
    """Yield the ciphertexts of each chunk that some blocks need."""
    needed = {factor for block in blocks for factor in (block.left, block.right)}
    while (first := next(ciphertexts, None)) is not None:
        chunk = {}
        for factor, ciphertext in zip(
            plan.factors,
            itertools.chain([first], itertools.islice(ciphertexts, len(plan.factors) - 1)),
            strict=True,
        ):
            if factor in needed:
                chunk[factor] = ciphertext
        yield chunk


class Finishing:
    """Turns a sum into what may be opened: nothing in it but the coefficients meant."""

    def __init__(self, evaluation: Evaluation) -> None:
        """Prepare for the parameters of ``evaluation``."""
        self._evaluation, self._seal = evaluation, evaluation.set.seal
        self._packing, self._coefficients = Packing(self._seal.poly_degree), Coefficients(evaluation.set)
        self._ones = self._coefficients.plaintext(self._packing.ones())
        self._source = SecureSource()
        self._bodies = Bodies(evaluation.set, Shape(2, RESULT_PRIMES))

    def sums(self, total: Any, block: Block, plan: TablePlan) -> bytes:
        """Return the packed result of a block."""
        if block.right.kind == "1":
            total = self._evaluation.multiply_plain(total, self._ones)
        else:
            total = self._evaluation.relinearise(total)
        return self.finish(total, self._packing.targets(plan.size(block.left), plan.size(block.right)))

    def finish(self, ciphertext: Any, targets: Any) -> bytes:
        """Add what hides all coefficients but ``targets``, and all noise; make it small and pack it."""
        mask = self._source.below(self._seal.plain_modulus, self._seal.poly_degree)
        mask[targets.reshape(-1)] = 0
        hidden = self._evaluation.add_plain(ciphertext, self._coefficients.of_residues(mask))
        lower = self._evaluation.switch_down(hidden, FLOOD_PRIMES)
        return self._bodies.pack(
            self._evaluation.switch_down(self._evaluation.flood(lower, FLOOD_LOG2), RESULT_PRIMES)
        )
