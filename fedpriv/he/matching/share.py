"""Some dimensions of all blocks of a gallery, in memory."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedpriv.errors import UserError
from fedpriv.he.matching.columns import Columns, EncryptedColumns, PlainColumns
from fedpriv.he.matching.gallery import Gallery
from fedpriv.he.matching.lengths import Claims
from fedpriv.he.matching.members import Segment
from fedpriv.he.matching.products import Probe, Products


class Share:
    """Columns ``first`` to below ``last`` of every block, kept up to date with the disk.

    A block is the sum of its segments. Where one has left, it is added up anew from those that remain,
    which comes to the same ciphertexts as subtracting would, and needs no file that is gone.
    """

    def __init__(self, gallery: Gallery, first: int, last: int) -> None:
        """Hold nothing yet; see :meth:`refresh`."""
        self.products = Products(gallery.keys)
        self._gallery, self._dimensions = gallery, range(first, last)
        self._names: dict[int, list[str]] = {}
        self._columns: dict[int, Columns] = {}

    @property
    def blocks(self) -> list[int]:
        """Numbers of the blocks with anybody in them."""
        return sorted(self._columns)

    @property
    def memory_bytes(self) -> int:
        """Bytes of the templates held."""
        return sum(each.memory_bytes for each in self._columns.values())

    def refresh(self) -> None:
        """Read what was added, and what remains of blocks that somebody left.

        Raises:
            FormatError: for a damaged segment, naming its file.
            UserError: when one cannot be read.
        """
        wanted = self._gallery.segments()
        for block in self._columns.keys() - wanted.keys():
            del self._columns[block]
            self._names.pop(block, None)
        for block, segments in wanted.items():
            if self._names.get(block) != [each.name for each in segments]:
                self._bring_up(block, segments)

    def match(
        self, probe: Probe, blocks: Iterable[int], weights: NDArray[np.float64]
    ) -> tuple[dict[int, Any], Claims | None]:
        """Return the sums over these dimensions for some blocks, and an encrypted probe's claims.

        A sum is None where the probe, or the people, are zero in all these dimensions. ``weights``, (2,
        dimensions) for these dimensions, are those of :meth:`Products.claims`.
        """
        factors = self.products.factors(probe)
        claims = self.products.claims(factors, weights) if factors.encrypted else None
        return {block: self._columns[block].sum(factors) for block in blocks}, claims

    def _bring_up(self, block: int, segments: Sequence[Segment]) -> None:
        # interrupted in the middle, it is begun anew the next time
        known = self._names.pop(block, [])
        names = [each.name for each in segments]
        fresh = not known or names[: len(known)] != known
        if fresh:
            made: type[Columns] = PlainColumns if self._gallery.plain else EncryptedColumns
            self._columns[block] = made(self._gallery, self.products, self._dimensions)
        for segment in segments if fresh else segments[len(known) :]:
            try:
                self._columns[block].add(segment)
            except UserError:
                self._columns.pop(block, None)
                # it may have been replaced and removed since the journal was read
                if segment in self._gallery.segments().get(block, []):
                    raise
                self.refresh()
                return
        self._names[block] = names
