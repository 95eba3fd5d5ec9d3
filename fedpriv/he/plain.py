"""Updates without encryption: what the other schemes are compared with."""

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fedpriv.he.codec import (
    Aggregator,
    Buffer,
    PayloadError,
    SumError,
    UpdateCodec,
    checked_vector,
    require_size,
)
from fedpriv.he.packing import NonFiniteUpdate
from fedpriv.privacy.noise import RandomSource
from fedpriv.types import FloatVector


class PlainCodec(UpdateCodec):
    """Body: the coordinates as little-endian float32; the sum is float64. No mask.

    It protects nothing: the server reads every update.
    """

    scheme: str = "plain"

    def __init__(self, max_clients: int) -> None:
        """Sum at most ``max_clients`` updates."""
        self.max_clients = max_clients

    @property
    def digest(self) -> bytes:
        """See :class:`UpdateCodec`."""
        return hashlib.sha256(b"fedpriv-plain-2").digest()

    def encode_into(
        self,
        vector: FloatVector,
        mask: memoryview,
        body: memoryview,
        random: np.random.Generator,
        source: RandomSource | None = None,
    ) -> int:
        """Copy the coordinates; nothing is drawn."""
        del mask, random, source
        if not np.isfinite(checked_vector(vector)).all():
            raise NonFiniteUpdate("update: holds NaN or infinity")
        np.frombuffer(body, "<f4")[:] = vector
        return 0

    def mask_bytes(self, length: int) -> int:
        """Return 0."""
        return 0

    def body_bytes(self, length: int) -> int:
        """Return 4 bytes per coordinate."""
        return 4 * length

    def aggregator(self, length: int, source: RandomSource | None = None) -> Aggregator:
        """Return a float64 sum of zeros."""
        del source
        return PlainAggregator(length, self.max_clients)


class PlainAggregator(Aggregator):
    """One float64 vector; the order of adding decides the last bit, so equal orders give equal sums."""

    def __init__(self, length: int, max_clients: int) -> None:
        """Start from zero."""
        super().__init__(length, max_clients)
        self._sum = np.zeros(length, np.float64)

    def _add(self, body: Buffer) -> None:
        """Add little-endian float32 coordinates."""
        update = np.frombuffer(require_size(body, 4 * self.length), "<f4")
        if not np.isfinite(update).all():
            raise PayloadError("non_finite", "holds NaN or infinity")
        self._sum += update

    def open(self, answers: Sequence[Buffer]) -> NDArray[np.float64]:
        """Return the sum; there is nobody to answer."""
        if answers:
            raise SumError("malformed", f"{len(answers)} answers, none expected")
        if not self.count:
            raise SumError("too_few_clients", "nothing was added")
        return self._sum.copy()
