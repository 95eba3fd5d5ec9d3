"""Scores of encrypted rows: a ciphertext for each chunk of rows of each table, opened by the key's holder."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedpriv.errors import FormatError
from fedpriv.he.tables.computing import MOST_CIPHERTEXTS, RESULT_PRIMES, Finishing, chunks_of, inspect
from fedpriv.he.tables.models import KINDS, MOST_BITS, IntegerModel, TableModel, in_integers
from fedpriv.he.tables.opening import Open
from fedpriv.he.tables.packing import ACROSS, Packing
from fedpriv.he.tables.plan import MOST_CHUNKS, Block, Factor, TablePlan
from fedpriv.he.tables.polynomials import Coefficients
from fedpriv.he.users.cipher_heads import CipherHead
from fedpriv.he.users.cipher_reading import CipherReader, open_ciphers
from fedpriv.he.users.cipher_writing import CipherWriter
from fedpriv.he.users.evaluation import Evaluation
from fedpriv.he.users.public_keys import PublicKeys
from fedpriv.he.users.shapes import Shape

Floats = NDArray[np.float64]


def write_scores(path: Path, tables: Sequence[Path], keys: PublicKeys, model: TableModel) -> int:
    """Write the encrypted scores of all rows of the tables, in their order; return how many ciphertexts.

    Whoever opens it learns the scores and, of the model, nothing else. The server learns nothing of rows.

    Raises:
        UserError: as :func:`~fedpriv.he.tables.computing.inspect` and
            :func:`~fedpriv.he.tables.models.in_integers`.
    """
    found = inspect(tables, keys)
    integers = in_integers(model, found.schema, keys.set.seal.plain_modulus)
    scorer = _Scorer(Evaluation(keys), TablePlan(found.schema), integers)
    metadata = {
        "kind": "scores",
        "model": model.kind,
        "bits": integers.bits,
        "tables": list(found.identities),
        "chunks": list(found.chunks),
    }
    count = sum(found.chunks)
    head = CipherHead(keys.set, keys.fingerprint, Shape(2, RESULT_PRIMES), count, metadata, False)
    with CipherWriter(path, head) as writer:
        for table in tables:
            with open_ciphers(table, keys, most=MOST_CIPHERTEXTS) as reader:
                for chunk in chunks_of(iter(reader), scorer.plan, scorer.blocks):
                    writer.write(scorer.scores(chunk))
    return count


@dataclass(frozen=True)
class ScoresHead:
    """What a file of scores says of itself.

    Attributes:
        kind: of the model.
        bits: f, see :class:`~fedpriv.he.tables.models.IntegerModel`.
        chunks: of rows, of each table.
    """

    kind: str
    bits: int
    chunks: tuple[int, ...]


def scores_head(path: Path, reader: CipherReader) -> ScoresHead:
    """Return what a checked header says.

    Raises:
        FormatError: when it is none of scores.
    """
    found = reader.head.metadata
    if found.get("kind") != "scores" or set(found) != {"kind", "model", "bits", "tables", "chunks"}:
        raise FormatError(path, None, "holds no scores of `fedpriv stats compute --model`")
    bits, kind, chunks = found["bits"], found["model"], found["chunks"]
    fine = (
        kind in KINDS
        and type(bits) is int
        and 0 <= bits <= MOST_BITS
        and isinstance(chunks, list)
        and all(type(each) is int and each > 0 for each in chunks)
        and sum(chunks) == reader.head.count <= MOST_CHUNKS
    )
    if not fine:
        raise FormatError(
            path, None, "holds no scores of `fedpriv stats compute --model`: model, bits or chunks"
        )
    return ScoresHead(kind, bits, tuple(chunks))


def read_scores(path: Path, keys: PublicKeys, opens: Open) -> tuple[str, list[Floats]]:
    """Open scores: kind of the model, and for each table those of its rows, float64.

    Edge cases:
        - How many rows a table has is not known: (its chunks * c,) scores, those of padding at the end.

    Raises:
        UserError: when the file is none of scores, under another key, damaged, or does not decrypt.
    """
    with open_ciphers(path, keys, most=MOST_CHUNKS, primes=(RESULT_PRIMES,)) as reader:
        head = scores_head(path, reader)
        coefficients, packing = Coefficients(keys.set), Packing(keys.set.seal.poly_degree)
        rows = [coefficients.coefficients(opens(each))[packing.weighted()] for each in reader]
    scores = np.concatenate(rows).astype(np.float64) / 2.0**head.bits
    return head.kind, np.split(scores, np.cumsum(head.chunks)[:-1] * packing.chunk)


def probabilities(scores: Floats) -> Floats:
    """Return 1 / (1 + exp(-score)), without overflow."""
    small = np.exp(-np.abs(scores))
    return np.where(scores >= 0, 1.0, small) / (1.0 + small)


class _Scorer:
    def __init__(self, evaluation: Evaluation, plan: TablePlan, model: IntegerModel) -> None:
        self._model, self.plan, self._evaluation = model, plan, evaluation
        self._packing = Packing(evaluation.set.seal.poly_degree)
        self._coefficients, self._finishing = Coefficients(evaluation.set), Finishing(evaluation)
        self._factors = dict(self._weighted())
        one = Factor("1", right=True)
        self.blocks = [Block(factor, one) for factor in self._factors]

    def scores(self, chunk: dict[Factor, Any]) -> bytes:
        evaluation, rows = self._evaluation, self._packing.weighted()
        terms = [evaluation.multiply_plain(chunk[factor], plain) for factor, plain in self._factors.items()]
        constant = np.zeros(self._packing.degree, np.int64)
        constant[rows] = self._model.constant
        total = evaluation.add_plain(evaluation.add_many(terms), self._coefficients.plaintext(constant))
        return self._finishing.finish(total, rows)

    def _weighted(self) -> Any:
        for factor in self.plan.factors:
            if factor.right or factor.kind not in "mx":
                continue
            source = self._model.masks if factor.kind == "m" else self._model.values
            weights = np.array(source[ACROSS * factor.pack :][:ACROSS], np.int64)
            # a product with zeros would hide nothing, and is not needed
            if weights.any():
                yield factor, self._coefficients.plaintext(self._packing.weights(weights))
