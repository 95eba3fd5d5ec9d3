"""What every update scheme can do: the one interface that clients, server and key holder use.

The three parties get three objects, so that none holds more than it needs: clients encode, the
server's :class:`Aggregator` adds without any key, and a :class:`SumDecoder` reads the sum.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from fedpriv.errors import UserError
from fedpriv.types import FloatVector

PayloadCause = Literal["truncated", "oversized", "malformed", "non_finite"]
SumCause = Literal["too_few_clients", "too_many_clients", "malformed", "not_a_sum"]


class PayloadError(ValueError):
    """A client's payload that was refused.

    Attributes:
        cause: one of :data:`PayloadCause`, for counting.
    """

    def __init__(self, cause: PayloadCause, detail: str) -> None:
        """Keep the cause and what was found."""
        super().__init__(f"payload {cause}: {detail}")
        self.cause: PayloadCause = cause


class SumError(ValueError):
    """A sum that was not decoded.

    Attributes:
        cause: one of :data:`SumCause`.
    """

    def __init__(self, cause: SumCause, detail: str) -> None:
        """Keep the cause and what was found."""
        super().__init__(f"sum {cause}: {detail}")
        self.cause: SumCause = cause


@dataclass(frozen=True)
class Encoded:
    """One update, ready for its envelope.

    Attributes:
        payload: the bytes.
        clipped: coordinates that lay outside the scheme's range and saturated.
    """

    payload: bytes
    clipped: int


class Aggregator(ABC):
    """Adds the payloads of one round. Holds no key and only the running sum."""

    def __init__(self, length: int) -> None:
        """Prepare for updates of ``length`` coordinates."""
        self.length = _positive(length)
        self.count = 0
        """Payloads added so far."""

    @abstractmethod
    def add(self, payload: bytes | memoryview) -> None:
        """Add one client's payload.

        Guarantee:
            a refused payload leaves sum and count as they were.

        Raises:
            PayloadError: when the payload is refused; sizes and structure are checked before
                anything is parsed.
        """

    @abstractmethod
    def result(self) -> bytes:
        """Serialise the sum.

        Raises:
            ValueError: when nothing was added.
        """


class SumDecoder(ABC):
    """Reads sums, never a single client's update.

    Guarantee:
        :meth:`decode_sum` refuses a ``count`` below ``min_clients``.

    Edge cases:
        The count is the server's word: that the sum really holds that many clients must be
        checked by whoever calls, e.g. from the clients' signatures.
    """

    def __init__(self, min_clients: int, max_clients: int) -> None:
        """Decode sums of ``min_clients`` to ``max_clients`` updates."""
        if not 1 <= min_clients <= max_clients:
            raise UserError(f"secure.min_clients={min_clients}: choose 1 to federation.clients={max_clients}")
        self.min_clients = min_clients
        self.max_clients = max_clients

    def decode_sum(self, payload: bytes | memoryview, count: int, length: int) -> NDArray[np.float64]:
        """Decode what :meth:`Aggregator.result` made.

        Args:
            payload: the serialised sum.
            count: how many updates it holds.
            length: P, coordinates per update.

        Returns:
            (P,) float64, the sum of the updates.

        Raises:
            SumError: when the count is outside the limits, or the payload is no such sum.
        """
        if count < self.min_clients:
            raise SumError("too_few_clients", f"{count}, at least {self.min_clients} needed")
        if count > self.max_clients:
            raise SumError("too_many_clients", f"{count}, at most {self.max_clients} planned")
        return self._decode(payload, count, _positive(length))

    @abstractmethod
    def _decode(self, payload: bytes | memoryview, count: int, length: int) -> NDArray[np.float64]:
        """Decode a sum whose count was checked."""


class UpdateCodec(ABC):
    """One way to send an update so that the server can add it to others.

    Attributes:
        scheme: the name it is configured and sealed under.
        needs_keyholder: whether only a key holder can read the sum.
        max_clients: most updates in one sum.
    """

    scheme: ClassVar[str]
    needs_keyholder: ClassVar[bool]
    max_clients: int

    @abstractmethod
    def encode(self, vector: FloatVector, random: np.random.Generator) -> Encoded:
        """Encode one client's update, already weighted.

        Args:
            vector: (P,) float32.
            random: for rounding only; what protects the update comes from the operating system.

        Raises:
            NonFiniteUpdate: when the vector holds NaN or infinity.
            ValueError: when it is no float32 vector of at least one coordinate.
        """

    @abstractmethod
    def max_payload_bytes(self, length: int) -> int:
        """Return the most bytes that a payload of ``length`` coordinates may have."""

    @abstractmethod
    def aggregator(self, length: int) -> Aggregator:
        """Return a fresh, key-less sum for updates of ``length`` coordinates."""

    @abstractmethod
    def decoder(self, min_clients: int) -> SumDecoder:
        """Return what reads sums of at least ``min_clients`` updates.

        Raises:
            UserError: when this party has no key that the scheme needs.
        """


def checked_vector(vector: FloatVector) -> FloatVector:
    """Return ``vector`` if it is a non-empty float32 vector.

    Raises:
        ValueError: otherwise.
    """
    if vector.ndim != 1 or vector.dtype != np.float32 or not len(vector):
        raise ValueError(f"update: need a float32 vector (P,), got {vector.dtype} {vector.shape}")
    return vector


def _positive(length: int) -> int:
    """Return ``length`` if there is at least one coordinate."""
    if length < 1:
        raise ValueError(f"length={length}: an update has at least one coordinate")
    return length
