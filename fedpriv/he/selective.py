"""Selective encryption: some coordinates of an update are encrypted, the others travel in clear.

FedML-HE (Jin et al. 2023, arXiv 2303.10837) encrypts the parameters that depend most on private data
and leaves the rest readable, which saves bytes and time. What is in clear is in clear: the server reads
these coordinates of every single update. Whether that is harmless is contested: no way of choosing
protects against every attack (Gu et al. 2025, arXiv 2508.04155), and images come back in part from 30 %
of the gradients (Xue et al. 2025, DictPFL, arXiv 2510.21086). An option to be studied, never a default.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fedpriv.errors import UserError
from fedpriv.he.codec import (
    Aggregator,
    Buffer,
    Holder,
    PayloadError,
    UpdateCodec,
    checked_vector,
    require_size,
)
from fedpriv.he.packing import NonFiniteUpdate
from fedpriv.he.selection import selection_digest
from fedpriv.privacy.noise import RandomSource
from fedpriv.types import FloatVector

if TYPE_CHECKING:
    from fedpriv.he.identity import Enrolment


def select(codec: UpdateCodec, selected: NDArray[np.bool_]) -> UpdateCodec:
    """Return a codec that encrypts the ``selected`` coordinates as ``codec`` does, and only those.

    Edge cases:
        Everything selected: ``codec`` itself, nothing is left to travel in clear.
        Nothing selected: refused; that is a run without encryption under the name of one.

    Args:
        codec: any.
        selected: (P,) bool.

    Raises:
        UserError: when nothing is selected.
    """
    if selected.all():
        return codec
    if not selected.any():
        raise UserError("secure.select: leaves every coordinate in clear; choose layers, or secure=none")
    return SelectiveCodec(codec, selected)


def clear_fraction(codec: UpdateCodec) -> float:
    """Return the share of the coordinates that a selective codec leaves in clear; 0 for any other."""
    return codec.clear_fraction if isinstance(codec, SelectiveCodec) else 0.0


class SelectiveCodec(UpdateCodec):
    """Body: the inner codec's body of the selected coordinates, then the others as float32.

    The mask is the inner codec's, so that key holders see nothing of the clear part. The sum of the
    clear part is float64.

    Guarantee:
        - The digest binds the inner codec's digest and the selection: parties with different selections
          refuse each other's envelopes.
        - A body with NaN or infinity in its clear part is refused and leaves the sum as it was.

    Edge cases:
        - Coordinates in clear do not saturate: only selected ones are counted as saturated.
        - Updates of another length than the selection raise ValueError.
        - Noise that the inner codec adds for differential privacy covers the selected coordinates only.

    Attributes:
        inner: encrypts the selected coordinates.
        selected: (P,) bool, read-only.
    """

    def __init__(self, inner: UpdateCodec, selected: NDArray[np.bool_]) -> None:
        """Wrap ``inner``; use :func:`select`.

        Raises:
            ValueError: unless some coordinates are selected and some are not.
        """
        if selected.ndim != 1 or selected.dtype != np.bool_ or selected.all() or not selected.any():
            raise ValueError("selected: need a vector (P,) of booleans that are not all alike")
        self.scheme = inner.scheme
        self.inner = inner
        self.holders, self.needs_public_key = inner.holders, inner.needs_public_key
        self.max_clients, self.step = inner.max_clients, inner.step
        self.selected = selected.copy()
        self.selected.flags.writeable = False
        self._clear = ~self.selected
        self._encrypted = int(np.count_nonzero(self.selected))
        self._selection_digest = selection_digest(self.selected)

    @property
    def digest(self) -> bytes:
        """SHA-256 over the inner codec's digest and the selection."""
        return _bind(self.inner.digest, self._selection_digest)

    @property
    def figures(self) -> dict[str, float]:
        """Return the inner codec's."""
        return self.inner.figures

    @property
    def clear_fraction(self) -> float:
        """Share of the coordinates that the server reads, in (0, 1)."""
        return 1.0 - self._encrypted / len(self.selected)

    def encode_into(
        self,
        vector: FloatVector,
        mask: memoryview,
        body: memoryview,
        random: np.random.Generator,
        source: RandomSource | None = None,
    ) -> int:
        """Encrypt the selected coordinates and append the others."""
        self._check(len(checked_vector(vector)))
        encrypted = self.inner.body_bytes(self._encrypted)
        clear = np.frombuffer(body[encrypted:], "<f4")
        clear[:] = vector[self._clear]
        if not np.isfinite(clear).all():
            raise NonFiniteUpdate("update: holds NaN or infinity")
        return self.inner.encode_into(vector[self.selected], mask, body[:encrypted], random, source)

    def mask_bytes(self, length: int) -> int:
        """Return the bytes of the inner codec's mask of the selected coordinates."""
        self._check(length)
        return self.inner.mask_bytes(self._encrypted)

    def check_mask(self, mask: Buffer, length: int) -> None:
        """Let the inner codec judge the mask of the selected coordinates."""
        self._check(length)
        self.inner.check_mask(mask, self._encrypted)

    def body_bytes(self, length: int) -> int:
        """Return the inner codec's bytes and 4 for each coordinate in clear."""
        self._check(length)
        return self.inner.body_bytes(self._encrypted) + 4 * (length - self._encrypted)

    def aggregator(self, length: int, source: RandomSource | None = None) -> Aggregator:
        """Return sums of both parts."""
        self._check(length)
        encrypted = self.inner.body_bytes(self._encrypted)
        return SelectiveAggregator(
            self.inner.aggregator(self._encrypted, source), self.selected, encrypted, self.max_clients
        )

    def holder(self, folder: Path) -> Holder:
        """Return the inner codec's key holder, who opens sums of the selected coordinates."""
        return SelectiveHolder(self.inner.holder(folder), self.selected, self._selection_digest)

    def with_key_folder(self, folder: Path) -> UpdateCodec:
        """See :class:`UpdateCodec`."""
        return self._around(self.inner.with_key_folder(folder))

    def with_public_key(self, data: Buffer, run_id: bytes, enrolment: "Enrolment") -> UpdateCodec:
        """See :class:`UpdateCodec`."""
        return self._around(self.inner.with_public_key(data, run_id, enrolment))

    def _around(self, inner: UpdateCodec) -> UpdateCodec:
        return self if inner is self.inner else SelectiveCodec(inner, self.selected)

    def _check(self, length: int) -> None:
        if length != len(self.selected):
            raise ValueError(f"length={length}: the selection is for {len(self.selected)} coordinates")


class SelectiveAggregator(Aggregator):
    """Two sums: the inner codec's, and a float64 vector of what came in clear."""

    def __init__(
        self, inner: Aggregator, selected: NDArray[np.bool_], encrypted_bytes: int, max_clients: int
    ) -> None:
        """Start from zero; a body begins with ``encrypted_bytes`` bytes for ``inner``."""
        super().__init__(len(selected), max_clients)
        self._inner, self._selected, self._encrypted_bytes = inner, selected, encrypted_bytes
        self._clear_sum = np.zeros(len(selected) - inner.length, np.float64)

    def _add(self, body: Buffer) -> None:
        """Check the clear part, let the inner codec check and add its own, then add the clear part."""
        view = require_size(body, self._encrypted_bytes + 4 * len(self._clear_sum))
        clear = np.frombuffer(view[self._encrypted_bytes :], "<f4")
        if not np.isfinite(clear).all():
            raise PayloadError("non_finite", "holds NaN or infinity")
        self._inner.add(view[: self._encrypted_bytes])
        self._clear_sum += clear

    def body_sum(self) -> bytes:
        """Return what the inner codec's key holders need; nothing of the clear part."""
        return self._inner.body_sum()

    def open(self, answers: Sequence[Buffer]) -> NDArray[np.float64]:
        """Put both sums in their places."""
        total = np.empty(self.length, np.float64)
        total[self._selected] = self._inner.open(answers)
        total[~self._selected] = self._clear_sum
        return total


class SelectiveHolder(Holder):
    """The inner codec's key holder, told of the selected coordinates only."""

    def __init__(self, inner: Holder, selected: NDArray[np.bool_], selection: bytes) -> None:
        """Wrap ``inner``; ``selection`` is the digest of ``selected``."""
        self._inner = inner
        self._length, self._encrypted = len(selected), int(np.count_nonzero(selected))
        self._selection = selection

    @property
    def digest(self) -> bytes:  # type: ignore[override]  # an inner holder may get its key later
        """As :attr:`SelectiveCodec.digest`, with the key that the inner holder really has."""
        return _bind(self._inner.digest, self._selection)

    def require(self, run_id: bytes, number: int) -> None:
        """See :class:`Holder`."""
        self._inner.require(run_id, number)

    def open(self, masks: Sequence[Buffer], body_sum: Buffer, length: int) -> bytes:
        """Open the sum of the selected coordinates of updates of ``length`` coordinates."""
        if length != self._length:
            raise ValueError(f"length={length}: the selection is for {self._length} coordinates")
        return self._inner.open(masks, body_sum, self._encrypted)


def _bind(inner: bytes, selection: bytes) -> bytes:
    return hashlib.sha256(b"fedpriv-selective-1" + inner + selection).digest()
