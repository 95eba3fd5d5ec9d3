"""Updates without encryption: what the other schemes are compared with."""

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from fedpriv.he.codec import (
    Aggregator,
    Encoded,
    PayloadCause,
    PayloadError,
    SumDecoder,
    SumError,
    UpdateCodec,
    checked_vector,
)
from fedpriv.he.packing import NonFiniteUpdate
from fedpriv.types import FloatVector


class PlainCodec(UpdateCodec):
    """Payload: the coordinates as little-endian float32; the sum is float64.

    It protects nothing: the server reads every update.
    """

    scheme: ClassVar[str] = "plain"
    needs_keyholder: ClassVar[bool] = False

    def __init__(self, max_clients: int) -> None:
        """Sum at most ``max_clients`` updates."""
        self.max_clients = max_clients

    def encode(self, vector: FloatVector, random: np.random.Generator) -> Encoded:
        """Copy the coordinates; ``random`` is not used."""
        del random
        if not np.isfinite(checked_vector(vector)).all():
            raise NonFiniteUpdate("update: holds NaN or infinity")
        return Encoded(vector.astype("<f4", copy=False).tobytes(), clipped=0)

    def max_payload_bytes(self, length: int) -> int:
        """Return 4 bytes per coordinate, which is exact."""
        return 4 * length

    def aggregator(self, length: int) -> Aggregator:
        """Return a float64 sum of zeros."""
        return PlainAggregator(length)

    def decoder(self, min_clients: int) -> SumDecoder:
        """Return a decoder; anybody can read a plain sum."""
        return PlainSumDecoder(min_clients, self.max_clients)


class PlainAggregator(Aggregator):
    """One float64 vector; the order of adding decides the last bit, so equal orders give equal bytes."""

    def __init__(self, length: int) -> None:
        """Start from zero."""
        super().__init__(length)
        self._sum = np.zeros(length, np.float64)

    def add(self, payload: bytes | memoryview) -> None:
        """Add little-endian float32 coordinates."""
        expected = 4 * self.length
        if len(payload) != expected:
            cause: PayloadCause = "truncated" if len(payload) < expected else "oversized"
            raise PayloadError(cause, f"{len(payload)} bytes, {expected} expected")
        update = np.frombuffer(payload, "<f4")
        if not np.isfinite(update).all():
            raise PayloadError("non_finite", "holds NaN or infinity")
        self._sum += update
        self.count += 1

    def result(self) -> bytes:
        """Return the sum as little-endian float64."""
        if not self.count:
            raise ValueError("sum: nothing was added")
        return self._sum.astype("<f8", copy=False).tobytes()


class PlainSumDecoder(SumDecoder):
    """Reads the bytes of :class:`PlainAggregator`."""

    def _decode(self, payload: bytes | memoryview, count: int, length: int) -> NDArray[np.float64]:
        """Read little-endian float64."""
        del count
        if len(payload) != 8 * length:
            raise SumError("malformed", f"{len(payload)} bytes, {8 * length} expected")
        total = np.frombuffer(payload, "<f8").astype(np.float64)
        if not np.isfinite(total).all():
            raise SumError("not_a_sum", "holds NaN or infinity")
        return total
