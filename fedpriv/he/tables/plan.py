"""Which ciphertexts a table has, in which order, and which sums a server makes of them.

Letters of kinds: ``m`` masks (1 where a value is), ``x`` values, ``q`` their squares, ``h`` bins of
histograms, ``1`` the constant one. Left vectors are those of one scope, right ones of all rows.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from fedpriv.errors import FormatError, UserError
from fedpriv.he.tables.packing import ACROSS, Packing
from fedpriv.he.tables.schema import Column, Schema
from fedpriv.he.users.sets import ParameterSet

MOST_CHUNKS = 4096
"""Of all tables pooled: what the noise of a sum is bounded for, 4 million rows."""


@dataclass(frozen=True)
class Factor:
    """One polynomial of a chunk.

    Attributes:
        kind: ``m``, ``x``, ``q`` or ``h``; ``1`` is no ciphertext.
        pack: its vectors are those from 4 * pack on.
        scope: of a left factor; -1 for a right one and for histograms.
        right: on which side.
    """

    kind: str
    pack: int = 0
    scope: int = -1
    right: bool = False


@dataclass(frozen=True)
class Block:
    """Inner products of the vectors of two factors: one ciphertext of the result."""

    left: Factor
    right: Factor


class TablePlan:
    """Order of a table's ciphertexts and of a result's.

    Attributes:
        schema: of the table.
        factors: the ciphertexts of one chunk, in order.
        bins: of all histograms in a row, (column, bin).
    """

    def __init__(self, schema: Schema) -> None:
        """Lay out ``schema``."""
        self.schema = schema
        self.bins = [(c, b) for c, each in enumerate(schema.columns) for b in range(len(each.edges) - 1)]
        self._packs = -(-len(schema.columns) // ACROSS)
        self._bin_packs = -(-len(self.bins) // ACROSS)
        packs = range(self._packs)
        scopes = range(len(schema.scopes))
        self.factors = [Factor(kind, pack, scope) for scope in scopes for kind in "mxq" for pack in packs]
        if schema.pairs:
            self.factors += [Factor(kind, pack, right=True) for kind in "mx" for pack in packs]
        self.factors += [Factor("h", pack) for pack in range(self._bin_packs)]

    def blocks(self, pairs: bool) -> list[Block]:
        """Return the sums of a result, in order: of pairs of columns, or of single ones.

        Raises:
            UserError: for pairs of a table that was encrypted without.
        """
        if pairs and not self.schema.pairs:
            raise UserError(
                "pairs of columns: the table was encrypted with --no-pairs; encrypt it again without"
            )
        scopes = range(len(self.schema.scopes))
        blocks = [
            block for scope in scopes for block in (self._pairs(scope) if pairs else self._columns(scope))
        ]
        one = Factor("1", right=True)
        return blocks + [Block(Factor("h", pack), one) for pack in range(self._bin_packs)]

    def size(self, factor: Factor) -> int:
        """Return how many vectors a factor has."""
        if factor.kind == "1":
            return 1
        total = len(self.bins) if factor.kind == "h" else len(self.schema.columns)
        return min(ACROSS, total - ACROSS * factor.pack)

    def reaches(self, factor: Factor) -> list[int]:
        """Return the largest magnitude of a cell of each vector of a factor."""
        size, first = self.size(factor), ACROSS * factor.pack
        if factor.kind in "1mh":
            return [1] * size
        power = 2 if factor.kind == "q" else 1
        return [each.reach**power for each in self.schema.columns[first : first + size]]

    def _columns(self, scope: int) -> Iterator[Block]:
        for kind in "mxq":
            for pack in range(self._packs):
                yield Block(Factor(kind, pack, scope), Factor("1", right=True))

    def _pairs(self, scope: int) -> Iterator[Block]:
        for left, right in ("mm", "xm", "qm", "xx"):
            for first in range(self._packs):
                # what is symmetric is needed once
                for second in range(first if left == right else 0, self._packs):
                    yield Block(Factor(left, first, scope), Factor(right, second, right=True))


def require_room(schema: Schema, parameters: ParameterSet, chunks: int) -> None:
    """Refuse a table, or a pool of them, whose sums might pass t / 2 and come out wrong.

    Args:
        schema: of the tables.
        parameters: of the key.
        chunks: of all of them.

    Raises:
        UserError: naming the column, and what to give up.
    """
    if chunks > MOST_CHUNKS:
        raise UserError(f"tables: {chunks} chunks of rows, at most {MOST_CHUNKS}; pool fewer tables")
    rows = chunks * Packing(parameters.seal.poly_degree).chunk
    most = (parameters.seal.plain_modulus - 1) // 2
    # a product of two columns is at most the greater square
    for column in schema.columns:
        if rows * column.reach**2 > most:
            raise UserError(
                f"column {column.name!r}: sums of products over {rows} rows may reach "
                f"{rows * column.reach**2:.3g}, and {most:.3g} fit; give closer bounds "
                f"(--bounds {column.name}=LOW:HIGH), {_fewer_decimals(column)}or leave it out (--columns)"
            )


def _fewer_decimals(column: Column) -> str:
    if not column.decimals:
        return ""
    return f"keep fewer decimals (--decimals {column.name}={max(column.decimals - 2, 0)}), "


def shared_schema(found: list[tuple[object, Schema]]) -> Schema:
    """Return the schema that all tables have.

    Raises:
        FormatError: naming the first table whose schema differs.
    """
    schema = found[0][1]
    for source, other in found[1:]:
        if other != schema:
            raise FormatError(
                source,
                None,
                f"has another schema than {found[0][0]}; encrypt both with one --schema (names, decimals, "
                f"bounds, groups and bins are part of it)",
            )
    return schema
