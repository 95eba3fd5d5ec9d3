"""Bounds on what the assembler holds, and the account of bytes in incomplete sets."""

from collections import Counter
from dataclasses import dataclass

from fedpriv.sharing.causes import Cause, SharingError


@dataclass(frozen=True)
class Limits:
    """Bounds; at each, what is new is refused with ``busy``.

    Attributes:
        max_sessions: over all clients.
        max_client_sessions: per client.
        max_partial_bytes: shares in incomplete sets, over all clients.
        max_client_bytes: likewise per client, so that one cannot shut out the others.
        max_closed: closed ids remembered per session, besides those in its window; older ones are
            refused as ``unexpected_id`` instead of ``already_used``. With a window of 256 a session takes
            at most 0.34 MiB so, 1,024 of them 0.33 GiB, besides shares and answers.
        max_answers: answers kept for retries, over all clients; beyond it a retry gets none.
        set_timeout_ms: how long a set may be incomplete.
        retention_ms: how long an answer is kept for retries.
        idle_ms: a session without a new image for so long is over.
    """

    max_sessions: int = 1024
    max_client_sessions: int = 8
    max_partial_bytes: int = 64 << 20
    max_client_bytes: int = 16 << 20
    max_closed: int = 512
    max_answers: int = 65536
    set_timeout_ms: int = 5_000
    retention_ms: int = 30_000
    idle_ms: int = 600_000


class Room:
    """How many bytes of shares are held, in all and per client."""

    def __init__(self, limits: Limits) -> None:
        """Start empty."""
        self._limits = limits
        self._clients: Counter[bytes] = Counter()
        self.total = 0

    def take(self, client: bytes, count: int) -> None:
        """Count ``count`` bytes more.

        Raises:
            SharingError: ``busy``, and nothing is counted, when a bound would be passed.
        """
        if self.total + count > self._limits.max_partial_bytes:
            raise SharingError(Cause.BUSY, f"{self.total} bytes of shares wait for others")
        if self._clients[client] + count > self._limits.max_client_bytes:
            raise SharingError(Cause.BUSY, f"{self._clients[client]} bytes of this client's shares wait")
        self._clients[client] += count
        self.total += count

    def release(self, client: bytes, count: int) -> None:
        """Count ``count`` bytes less."""
        self._clients[client] -= count
        if not self._clients[client]:
            del self._clients[client]
        self.total -= count
