"""What client and server tell each other in the handshake's payloads."""

import json
import struct
from dataclasses import asdict, dataclass
from typing import Any

from fedpriv.sharing.causes import Cause, SharingError
from fedpriv.sharing.payload import HEADER_BYTES, MAX_MODELS
from fedpriv.sharing.schedule import MAX_RELAYS
from fedpriv.sharing.scheme import Scheme

SESSION_BYTES = 16
MAX_PAYLOAD_BYTES = 1 << 20
MAX_WINDOW = 1 << 16
_HELLO = struct.Struct(">QBBB")


@dataclass(frozen=True)
class Hello:
    """The client's first payload.

    Attributes:
        clock_ms: the client's clock, milliseconds since 1970.
        scheme: how it wants to share.
    """

    clock_ms: int
    scheme: Scheme

    def pack(self) -> bytes:
        """Return its bytes."""
        return _HELLO.pack(self.clock_ms, *self.scheme.wire)

    @classmethod
    def unpack(cls, data: bytes) -> "Hello":
        """Read it.

        Raises:
            SharingError: ``malformed``, or ``not_offered`` for a scheme that does not exist.
        """
        if len(data) != _HELLO.size:
            raise SharingError(Cause.MALFORMED, f"handshake payload of {len(data)} bytes, not {_HELLO.size}")
        clock_ms, *wire = _HELLO.unpack(data)
        try:
            return cls(clock_ms, Scheme.from_wire(*wire))
        except ValueError as error:
            raise SharingError(Cause.NOT_OFFERED, str(error)) from error


@dataclass(frozen=True)
class Terms:
    """The server's payload: the session it opened.

    Attributes:
        session: its id, 16 random bytes.
        clock_ms: the server's clock when it answered.
        lifetime_ms: how long the session lives from then on.
        window: how many images may be open at once; even.
        payload_bytes: fixed size of every payload.
        relays: names, in the order that the schedule counts in.
        models: names of the models that may be asked for; a payload names them by position.

    Raises:
        ValueError: when they contradict themselves.
    """

    session: bytes
    clock_ms: int
    lifetime_ms: int
    window: int
    payload_bytes: int
    relays: tuple[str, ...]
    models: tuple[str, ...]

    def __post_init__(self) -> None:
        """Check them: they may come from outside."""
        if len(self.session) != SESSION_BYTES:
            raise ValueError(f"session of {len(self.session)} bytes, {SESSION_BYTES} are needed")
        if self.clock_ms < 0 or self.lifetime_ms < 1:
            raise ValueError(f"clock_ms={self.clock_ms}, lifetime_ms={self.lifetime_ms}: must be positive")
        if not 2 <= self.window <= MAX_WINDOW or self.window % 2:
            raise ValueError(f"window={self.window}: an even number from 2 to {MAX_WINDOW}")
        if not HEADER_BYTES < self.payload_bytes <= MAX_PAYLOAD_BYTES:
            raise ValueError(
                f"payload_bytes={self.payload_bytes}: from {HEADER_BYTES + 1} to {MAX_PAYLOAD_BYTES}"
            )
        for what, names, most in (("relays", self.relays, MAX_RELAYS), ("models", self.models, MAX_MODELS)):
            if not 1 <= len(names) <= most or len(set(names)) != len(names) or not all(names):
                raise ValueError(f"{what}: 1 to {most} distinct names, not {', '.join(names) or 'none'}")

    def pack(self) -> bytes:
        """Return them as JSON."""
        return json.dumps({**asdict(self), "session": self.session.hex()}).encode()

    @classmethod
    def unpack(cls, data: bytes) -> "Terms":
        """Read them.

        Guarantee:
            - Every field is there, no other, and of its type.

        Raises:
            SharingError: ``malformed``.
        """
        try:
            fields = json.loads(data)
            if not isinstance(fields, dict) or set(fields) != set(cls.__dataclass_fields__):
                raise ValueError("other fields than those of a session")
            return cls(
                bytes.fromhex(_text(fields["session"])),
                _whole(fields["clock_ms"]),
                _whole(fields["lifetime_ms"]),
                _whole(fields["window"]),
                _whole(fields["payload_bytes"]),
                _names(fields["relays"]),
                _names(fields["models"]),
            )
        except (ValueError, RecursionError) as error:
            raise SharingError(Cause.MALFORMED, f"terms of a session: {error}") from error


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r}: no text")  # noqa: TRY004 - from outside
    return value


def _whole(value: Any) -> int:
    if type(value) is not int:
        raise ValueError(f"{value!r}: no whole number")
    return value


def _names(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise ValueError(f"{value!r}: no list of names")  # noqa: TRY004 - from outside
    return tuple(map(_text, value))
