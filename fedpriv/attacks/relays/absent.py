"""What stands in the place of a defence that is taken away: parts that check, count or remember nothing."""

from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from fedpriv.attacks.relays.scene import Scene
from fedpriv.attacks.relays.weakened import Weakened
from fedpriv.relays import attempt, mac, model_server, relay
from fedpriv.services import limits, protocol
from fedpriv.sharing import assembler
from fedpriv.sharing.admission import Admission
from fedpriv.sharing.causes import Cause, SharingError
from fedpriv.sharing.commitment import SALT_BYTES
from fedpriv.sharing.envelope import HEADER_BYTES, TAG_BYTES, Header, cut_batch, read_header
from fedpriv.sharing.handshake import nonce
from fedpriv.sharing.held import HeldSession
from fedpriv.sharing.room import Room
from fedpriv.sharing.schedule import Slot


def never_closed(held: HeldSession, number: int) -> bool:
    """Forget which images there were."""
    return False


def never_expires(envelope: bytes) -> Header:
    """Read a header as if it were fresh for ever."""
    return read_header(envelope)._replace(expiry_ms=1 << 62)


def opened_unchecked(
    cipher: ChaCha20Poly1305, envelope: bytes, number: int, share: int
) -> tuple[bytes, bytes]:
    """Open without looking at the tag: to seal a stream cipher's text again is to open it."""
    name = nonce(number << 8 | share)
    opened = cipher.encrypt(name, envelope[HEADER_BYTES:-TAG_BYTES], None)[:-TAG_BYTES]
    return opened[:SALT_BYTES], opened[SALT_BYTES:]


class _Any(str):
    """The name of every relay."""

    __slots__ = ()
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        return True

    def __ne__(self, other: object) -> bool:
        return False


_find = HeldSession.find


def through_any_relay(held: HeldSession, image: bytes) -> Slot | None:
    """Find an image as if every relay were the scheduled one."""
    slot = _find(held, image)
    return slot and slot._replace(relays=(_Any("any"),) * len(slot.relays))


def believed(headers: Any, keys: Any, path: str, body: bytes, now_ms: int, max_skew_ms: int) -> str | None:
    """Take a relay's word for who it is."""
    return str(headers.get(mac.NAME, next(iter(keys))))


def any_clock(admission: Admission, ephemeral: bytes, clock_ms: int, now_ms: int) -> None:
    """Remember no first message, and look at no clock."""
    return None


def unbounded(room: Room, client: bytes, count: int) -> None:
    """Count bytes, and refuse none."""
    room._clients[client] += count
    room.total += count


def whole_batch(body: bytes) -> list[bytes]:
    """Cut a body however many envelopes it has."""
    return cut_batch(body, most=255)


async def received(middleware: limits.LimitsMiddleware, scope: Any, receive: Any) -> bytes:
    """Receive a body however large, for however long."""
    pieces = []
    while True:
        message = await receive()
        pieces.append(message.get("body", b""))
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            return b"".join(pieces)


def no_clock(connection: protocol.BoundedProtocol) -> None:
    """Start no clock."""
    return None


def any_answer(cipher: ChaCha20Poly1305, name: bytes, image: bytes, number: int, sealed: bytes) -> bytes:
    """Open the answer to any image of the session, without looking at its tag."""
    for other in range(256):
        padded = cipher.encrypt(nonce(other), sealed[:-TAG_BYTES], None)[:-TAG_BYTES]
        content = padded[2 : 2 + int.from_bytes(padded[:2], "big")]
        if content.startswith(b'{"') and content.endswith(b"}"):
            return content
    raise SharingError(Cause.NOT_AUTHENTIC, "no answer of this session")


def never_again(sending: attempt.Attempt, which: int, pause_s: float) -> None:
    """Do not try again."""
    return None


def keeps_sessions(scene: Scene, services: Weakened) -> None:
    """A server that keeps its sessions over a restart, and not what they had accepted."""

    def forget() -> None:
        kept = services.apps["model_server"].state.intake._assembler._sessions
        for name, held in kept.items():
            kept[name] = HeldSession(held.session, held.used_ms, 4096)

    services.on_restart = forget


def knows_secret(scene: Scene, services: Weakened) -> None:
    """Give the attacker the client's secret."""
    scene.known_secret = True


def holds_all(scene: Scene, services: Weakened) -> None:
    """Give the attacker all pieces, opened."""
    scene.opened_pieces = scene.plan.shares


NO_MEMORY = (HeldSession, "is_closed", never_closed)
NO_EXPIRY = (assembler, "read_header", never_expires)
NO_TAGS = (assembler, "open_share", opened_unchecked)
NO_REMEMBERING = (Admission, "_remember", any_clock)
NO_SIGNATURE = (mac, "verify", believed)
NO_LIMITS = (
    (limits.LimitsMiddleware, "_receive", received),
    (protocol.BoundedProtocol, "_expect_headers", no_clock),
    (relay, "cut_batch", whole_batch),
    (model_server, "cut_batch", whole_batch),
)
