"""Why something is refused: one list for counters, status bytes and error texts."""

from enum import IntEnum


class Cause(IntEnum):
    """The causes of refusal; the number is the status byte on the wire and never changes its meaning.

    Guarantee:
        - 0 (answered) is no cause, so a status byte is either 0 or one of these.
    """

    MALFORMED = 1
    """Not in the format at all: no such magic, fields that no sender of ours writes."""
    WRONG_SIZE = 2
    """Another length than the header or the session says."""
    WRONG_VERSION = 3
    """A version of the format that this program does not know."""
    UNKNOWN_SESSION = 4
    """No such session here: another server's, one before a restart, or one long over."""
    EXPIRED_SESSION = 5
    """The session's lifetime is over."""
    EXPIRED = 6
    """The share's own expiry has passed."""
    UNEXPECTED_ID = 7
    """An image id that the schedule does not expect in its window."""
    ALREADY_USED = 8
    """An image id that was answered, given up or passed over."""
    WRONG_SCHEME = 9
    """Scheme, number of shares, threshold or share index is not the session's."""
    WRONG_RELAY = 10
    """Came through another relay than the scheduled one."""
    NOT_AUTHENTIC = 11
    """Not sealed by the holder of the session's key, or changed on the way."""
    INCONSISTENT = 12
    """Authentic, but contradicts a share of the same image: its sender is at fault."""
    BAD_COMMITMENT = 13
    """The shares do not make up the payload that was committed to: its sender is at fault."""
    BUSY = 14
    """A bound on sessions, open sets or bytes is reached; the same bytes may be sent again later."""
    INCOMPLETE = 15
    """The other shares did not come in time; the image must be submitted again under a new id."""
    FAILED = 16
    """The image was complete and the model failed on it."""
    UNKNOWN_CLIENT = 17
    """Handshake: no such client key id."""
    CLOCK_SKEW = 18
    """Handshake: the client's clock is too far from the server's."""
    REPLAYED_HANDSHAKE = 19
    """Handshake: this first message was answered before."""
    NOT_OFFERED = 20
    """Handshake: the server does not offer this scheme."""
    WINDOW_FULL = 21
    """Client: too far ahead of the last answer; wait for one, or open a new session."""

    @property
    def label(self) -> str:
        """The name in counters, logs and JSON, e.g. ``wrong_relay``."""
        return self.name.lower()


class SharingError(ValueError):
    """A refusal.

    Attributes:
        cause: why.
    """

    def __init__(self, cause: Cause, detail: str) -> None:
        """Build the one line ``cause: detail``."""
        super().__init__(f"{cause.label}: {detail}")
        self.cause = cause
