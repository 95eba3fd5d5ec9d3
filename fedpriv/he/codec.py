"""What every update scheme can do: the one interface that clients, server and key holders use.

A client's update is split in two. The ``body`` goes to the server, which adds bodies and has no
key. The ``mask`` is what key holders need of it: they add the masks of the clients they were shown,
themselves, and answer with their part of opening that sum and no other. So whatever the server adds,
it can only be opened as the sum of the clients whose signatures the holders have checked.

    client: encode_into(mask, body)    server: add bodies     holders: open(masks) -> answers
    server: open(answers) -> sum of the updates

A scheme in which the holders' work does not grow with the model (one key ciphertext per client as
its mask) fits the same three objects.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from fedpriv.he.fixed_bytes import FixedBytes
from fedpriv.privacy.canaries import SparseUpdate
from fedpriv.privacy.noise import RandomSource
from fedpriv.types import FloatVector

if TYPE_CHECKING:
    from fedpriv.he.identity import Enrolment

Buffer = bytes | bytearray | memoryview
PayloadCause = Literal["truncated", "oversized", "malformed", "non_finite"]
SumCause = Literal["too_few_clients", "too_many_clients", "malformed", "not_a_sum"]


class PayloadError(ValueError):
    """A client's mask or body that was refused.

    Attributes:
        cause: one of :data:`PayloadCause`, for counting.
    """

    def __init__(self, cause: PayloadCause, detail: str) -> None:
        """Keep the cause and what was found."""
        super().__init__(f"payload {cause}: {detail}")
        self.cause: PayloadCause = cause


class SumError(ValueError):
    """A sum that was not opened.

    Attributes:
        cause: one of :data:`SumCause`.
    """

    def __init__(self, cause: SumCause, detail: str) -> None:
        """Keep the cause and what was found."""
        super().__init__(f"sum {cause}: {detail}")
        self.cause: SumCause = cause


class KeyRefused(ValueError):
    """A key, or a step of making one, that does not check.

    Attributes:
        cause: a short identifier, for counting.
    """

    def __init__(self, cause: str, detail: str) -> None:
        """Keep the cause and what was found."""
        super().__init__(f"key {cause}: {detail}")
        self.cause = cause


@dataclass(frozen=True)
class Encoded:
    """One update outside of any envelope.

    Attributes:
        mask: for the key holders; empty where a scheme has none.
        body: for the server.
        clipped: coordinates that lay outside the scheme's range and saturated.
    """

    mask: bytes
    body: bytes
    clipped: int


class Aggregator(ABC):
    """The server's side of one round: adds bodies, holds no key and only the running sum."""

    def __init__(self, length: int, max_clients: int) -> None:
        """Prepare for at most ``max_clients`` updates of ``length`` coordinates."""
        self.length = positive(length)
        self.max_clients = max_clients
        self.count = 0
        """Bodies added so far."""

    def add(self, body: Buffer) -> None:
        """Add one client's body.

        Guarantee:
            A refused body leaves sum and count as they were.

        Raises:
            PayloadError: when the body is refused; size and structure are checked before anything
                is added.
            SumError: ``too_many_clients`` beyond ``max_clients``.
        """
        if self.count >= self.max_clients:
            raise SumError("too_many_clients", f"{self.count + 1}, at most {self.max_clients} planned")
        self._add(body)
        self.count += 1

    @abstractmethod
    def _add(self, body: Buffer) -> None:
        """Check and add a body."""

    def body_sum(self) -> bytes:
        """Return what the key holders get besides the masks; nothing where they need nothing."""
        return b""

    @abstractmethod
    def open(self, answers: Sequence[Buffer]) -> NDArray[np.float64]:
        """Return the sum of all updates added, (P,) float64.

        Args:
            answers: of all key holders, in the order of their numbers.

        Raises:
            SumError: when nothing was added, an answer is malformed, or the answers open no such sum.
        """


class Holder(ABC):
    """One key holder's secret and what it does with it.

    Attributes:
        digest: as :attr:`UpdateCodec.digest`, with the key that this holder really has.
    """

    digest: bytes

    def require(self, run_id: bytes, number: int) -> None:
        """Refuse to serve a run, or as a holder, that the key was not made for; a shared key serves all.

        Raises:
            UserError: saying whose the key is.
        """
        del run_id, number

    def forget(self) -> None:  # noqa: B027 - most keys outlive a run
        """Delete the key from the disk where it is one run's own, once that run needs it no more."""

    @abstractmethod
    def open(self, masks: Sequence[Buffer], body_sum: Buffer, length: int) -> bytes:
        """Return this holder's part of opening the sum of the clients whose masks these are.

        Who these clients are, how many, and whether a sum of theirs was opened before is the
        caller's to check.

        Raises:
            PayloadError: when a mask is not one of this scheme and length.
            SumError: when the sum cannot be opened.
        """


class UpdateCodec(ABC):
    """One way to send an update so that the server can add it to others.

    Attributes:
        scheme: the name it is configured and sealed under.
        holders: answers that it takes to open a sum; 0 when the server opens it alone.
        needs_public_key: whether clients encrypt under a key that the holders make together.
        max_clients: most updates in one sum.
        step: distance of neighbouring levels of a coordinate; 0 where coordinates are not quantised.
    """

    scheme: str
    holders: int = 0
    needs_public_key: bool = False
    max_clients: int
    step: float = 0.0

    @property
    def figures(self) -> dict[str, float]:
        """What the encryption comes to, for the record of a run: :attr:`Encoding.figures`; empty without."""
        return {}

    @property
    @abstractmethod
    def digest(self) -> bytes:
        """SHA-256 over everything public that all parties must share: scheme, parameters, packing, key."""

    @abstractmethod
    def encode_into(
        self,
        vector: FloatVector,
        mask: memoryview,
        body: memoryview,
        random: np.random.Generator,
        source: RandomSource | None = None,
    ) -> int:
        """Encode one client's update, already weighted, where it is to be sent from.

        What is written before an error is raised is of no use to anybody, and is not to be sent.

        Args:
            vector: (P,) float32.
            mask: where the mask goes, exactly :meth:`mask_bytes`.
            body: where the body goes, exactly :meth:`body_bytes`.
            random: for rounding only; what protects the update comes from the operating system.
            source: of discrete noise, where the codec adds any; None for the operating system's.

        Returns:
            Coordinates that lay outside the scheme's range and saturated.

        Raises:
            NonFiniteUpdate: when the vector holds NaN or infinity.
            ValueError: when it is no float32 vector of at least one coordinate.
            UserError: when this party has no key that the scheme needs.
        """

    def encode(
        self, vector: FloatVector, random: np.random.Generator, source: RandomSource | None = None
    ) -> Encoded:
        """Do as :meth:`encode_into` does, with memory of its own.

        Raises:
            NonFiniteUpdate, ValueError, UserError: as :meth:`encode_into`.
        """
        length = len(checked_vector(vector))
        mask, body = FixedBytes(self.mask_bytes(length)), FixedBytes(self.body_bytes(length))
        clipped = self.encode_into(vector, mask.view, body.view, random, source)
        return Encoded(mask.take(), body.take(), clipped)

    def carrying(self, updates: Sequence[SparseUpdate]) -> "UpdateCodec":
        """Return this codec with further clients' updates added to each that it encodes: an audit's canaries.

        Raises:
            ValueError: where the scheme adds no noise of client-level privacy that could drown them.
        """
        del updates
        raise ValueError(f"{self.scheme}: carries no other clients' updates")

    @abstractmethod
    def mask_bytes(self, length: int) -> int:
        """Return the exact bytes of the mask of ``length`` coordinates."""

    def check_mask(self, mask: Buffer, length: int) -> None:
        """Refuse a client's mask that the key holders would refuse; nothing of it is kept.

        The server asks before it adds the body: holders parse masks when the round is used up, so one
        that they refuse would cost the sum of all the others.

        Raises:
            PayloadError: when ``mask`` is not one of this scheme and ``length``.
        """
        require_size(mask, self.mask_bytes(length))

    @abstractmethod
    def body_bytes(self, length: int) -> int:
        """Return the exact bytes of the body of ``length`` coordinates."""

    @abstractmethod
    def aggregator(self, length: int, source: RandomSource | None = None) -> Aggregator:
        """Return a fresh, key-less sum for updates of ``length`` coordinates.

        Args:
            length: P.
            source: of discrete noise, where the server adds any; None for the operating system's.
        """

    def holder(self, folder: Path) -> Holder:
        """Return the key holder whose key lies in ``folder``.

        Raises:
            UserError: when the key is missing, damaged or of another run or codec.
        """
        raise ValueError(f"{self.scheme}: has no key holders")

    def make_shared_key(self, path: Path) -> str:
        """Write a new key that clients and key holder share, of mode 0600, and return its fingerprint.

        Raises:
            ValueError: where the scheme has no such key.
            UserError: when the file exists or cannot be written.
        """
        raise ValueError(f"{self.scheme}: has no key that clients and key holder share")

    def with_key_folder(self, folder: Path) -> "UpdateCodec":
        """Return this codec with the client's key from its ``folder``; itself where clients have none.

        Raises:
            UserError: when the key is missing, damaged or of another codec.
        """
        del folder
        return self

    def with_public_key(self, data: Buffer, run_id: bytes, enrolment: "Enrolment") -> "UpdateCodec":
        """Return this codec with the holders' joint key; itself where there is none.

        Raises:
            KeyRefused: unless every enrolled holder has endorsed this key for this run.
        """
        del data, run_id, enrolment
        return self


def checked_vector(vector: FloatVector) -> FloatVector:
    """Return ``vector`` if it is a non-empty float32 vector.

    Raises:
        ValueError: otherwise.
    """
    if vector.ndim != 1 or vector.dtype != np.float32 or not len(vector):
        raise ValueError(f"update: need a float32 vector (P,), got {vector.dtype} {vector.shape}")
    return vector


def positive(length: int) -> int:
    """Return ``length`` if there is at least one coordinate."""
    if length < 1:
        raise ValueError(f"length={length}: an update has at least one coordinate")
    return length


def require_size(data: Buffer, expected: int) -> memoryview:
    """Return a view of ``data`` if it has exactly ``expected`` bytes.

    Raises:
        PayloadError: ``truncated`` or ``oversized`` otherwise.
    """
    if len(data) != expected:
        cause: PayloadCause = "truncated" if len(data) < expected else "oversized"
        raise PayloadError(cause, f"{len(data)} bytes, {expected} expected")
    return memoryview(data)
