"""For every attack, the services without the defence that it tests: there it must succeed.

A matrix of attacks that could succeed nowhere would say nothing. Code of the attacks is the same; what is
taken away is taken away in the services of this process only, for as long as the control runs.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from fedpriv.attacks.relays.matrix import Row, run_one
from fedpriv.attacks.relays.scene import Scene, scene
from fedpriv.attacks.relays.weakened import Weakened
from fedpriv.relays import attempt, client, limits, mac, model_server, protocol, relay
from fedpriv.sharing import answer, assembler
from fedpriv.sharing.admission import Admission
from fedpriv.sharing.causes import Cause, SharingError
from fedpriv.sharing.commitment import SALT_BYTES
from fedpriv.sharing.envelope import HEADER_BYTES, TAG_BYTES, Header, cut_batch, read_header
from fedpriv.sharing.handshake import nonce
from fedpriv.sharing.held import HeldSession
from fedpriv.sharing.room import Room
from fedpriv.sharing.schedule import Slot

ATTEMPTS = 12


class Without(NamedTuple):
    """A defence taken away.

    Attributes:
        what: in words.
        changes: what to put in its place: object, name of attribute, value.
        prepare: what the attacker has instead, or the services do.
    """

    what: str
    changes: tuple[tuple[Any, str, Any], ...] = ()
    prepare: Callable[[Scene, Weakened], None] | None = None


async def run_controls(services: Weakened, names: Iterable[str], attempts: int = ATTEMPTS) -> dict[str, Row]:
    """Run attacks, each against the services without the defence that it tests.

    Args:
        services: which run; between controls they are whole.
        names: of attacks.
        attempts: of each.
    """
    rows = {}
    for name in names:
        async with scene(services) as found:
            found.patience_s = 0.5
            without = WITHOUT[name]
            with _changed(without.changes):
                if without.prepare:
                    without.prepare(found, services)
                rows[name] = await run_one(found, name, attempts)
            services.on_restart = None
    return rows


@contextlib.contextmanager
def _changed(changes: Iterable[tuple[Any, str, Any]]) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for owner, name, value in changes:
            stack.callback(setattr, owner, name, getattr(owner, name))
            setattr(owner, name, value)
        yield


def _never_closed(held: HeldSession, number: int) -> bool:
    return False


def _never_expires(envelope: bytes) -> Header:
    return read_header(envelope)._replace(expiry_ms=1 << 62)


def _opened_unchecked(
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


def _through_any_relay(held: HeldSession, image: bytes) -> Slot | None:
    slot = _find(held, image)
    return slot and slot._replace(relays=(_Any("any"),) * len(slot.relays))


def _believed(headers: Any, keys: Any, path: str, body: bytes, now_ms: int, max_skew_ms: int) -> str | None:
    return str(headers.get(mac.NAME, next(iter(keys))))


def _any_clock(admission: Admission, ephemeral: bytes, clock_ms: int, now_ms: int) -> None:
    return None


def _unbounded(room: Room, client: bytes, count: int) -> None:
    room._clients[client] += count
    room.total += count


def _whole_batch(body: bytes) -> list[bytes]:
    return cut_batch(body, most=255)


async def _received(middleware: limits.LimitsMiddleware, scope: Any, receive: Any) -> bytes:
    pieces = []
    while True:
        message = await receive()
        pieces.append(message.get("body", b""))
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            return b"".join(pieces)


def _no_clock(connection: protocol.BoundedProtocol) -> None:
    return None


def _any_answer(cipher: ChaCha20Poly1305, name: bytes, image: bytes, number: int, sealed: bytes) -> bytes:
    """Open the answer to any image of the session, without looking at its tag."""
    for other in range(256):
        padded = cipher.encrypt(nonce(other), sealed[:-TAG_BYTES], None)[:-TAG_BYTES]
        content = padded[2 : 2 + int.from_bytes(padded[:2], "big")]
        if content.startswith(b'{"') and content.endswith(b"}"):
            return content
    raise SharingError(Cause.NOT_AUTHENTIC, "no answer of this session")


def _never_again(sending: attempt.Attempt, which: int, pause_s: float) -> None:
    return None


def _keeps_sessions(scene: Scene, services: Weakened) -> None:
    """A server that keeps its sessions over a restart, and not what they had accepted."""

    def forget() -> None:
        kept = services.apps["model_server"].state.intake._assembler._sessions
        for name, held in kept.items():
            kept[name] = HeldSession(held.session, held.used_ms, 4096)

    services.on_restart = forget


def _knows_secret(scene: Scene, services: Weakened) -> None:
    scene.known_secret = True


def _holds_all(scene: Scene, services: Weakened) -> None:
    scene.opened_pieces = scene.plan.shares


_NO_MEMORY = (HeldSession, "is_closed", _never_closed)
_NO_EXPIRY = (assembler, "read_header", _never_expires)
_NO_TAGS = (assembler, "open_share", _opened_unchecked)
_NO_REMEMBERING = (Admission, "_remember", _any_clock)
_NO_SIGNATURE = (mac, "verify", _believed)
_NO_LIMITS = (
    (limits.LimitsMiddleware, "_receive", _received),
    (protocol.BoundedProtocol, "_expect_headers", _no_clock),
    (relay, "cut_batch", _whole_batch),
    (model_server, "cut_batch", _whole_batch),
)
_UNSEALED = Without("pieces are opened without their authentication", (_NO_TAGS,))

WITHOUT: dict[str, Without] = {
    "replay_while_next": Without("the server forgets which images it had", (_NO_MEMORY,)),
    "replay_later": Without("the server forgets which images it had", (_NO_MEMORY,)),
    "replay_other_session": _UNSEALED,
    "replay_after_expiry": Without("no expiry, and used images are forgotten", (_NO_EXPIRY, _NO_MEMORY)),
    "replay_after_restart": Without(
        "sessions outlive the restart, what they used does not", (), _keeps_sessions
    ),
    "replayed_handshake": Without("first messages are not remembered", (_NO_REMEMBERING,)),
    "reorder": Without("clients open any image's answer", ((answer, "open_answer", _any_answer),)),
    "splice_two_images": _UNSEALED,
    "swap_share_index": _UNSEALED,
    "duplicate": Without("the server forgets which images it had", (_NO_MEMORY,)),
    "drop": Without(
        "clients do not try again",
        ((attempt.Attempt, "_again", _never_again), (client, "MOST_ATTEMPTS", 1)),
    ),
    "tamper_header": _UNSEALED,
    "tamper_body": _UNSEALED,
    "wrong_relay": Without(
        "a piece may come through any relay", ((HeldSession, "find", _through_any_relay),)
    ),
    "forged_relay": Without("relays are believed without a signature", (_NO_SIGNATURE,)),
    "forged_sender": Without(
        "the client's secret is known, pieces are not authenticated", (_NO_TAGS,), _knows_secret
    ),
    "expired": Without("no expiry", (_NO_EXPIRY,)),
    "clock_skew": Without("no clock is looked at", (_NO_REMEMBERING, _NO_SIGNATURE)),
    "oversized_body": Without("no limits on bodies and batches", _NO_LIMITS),
    "slow_sender": Without("no limits on time", _NO_LIMITS),
    "half_finished_flood": Without(
        "no bound on what clients leave unfinished", ((Room, "take", _unbounded),)
    ),
    "colluding_relays": Without("all relays collude, and can open their pieces", (), _holds_all),
}
"""Attack -> the defence that it tests."""
