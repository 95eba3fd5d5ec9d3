"""Who is not what they say: relays and senders without a key, clocks that are off, pieces that come late."""

import asyncio
import secrets
from collections.abc import Callable

from fedpriv.attacks.relays.said import ANSWERED, TAKEN, Said, read_said, together
from fedpriv.attacks.relays.scene import SESSIONS, SHARES, Scene
from fedpriv.attacks.relays.tally import Tally
from fedpriv.attacks.relays.together import at_once, rounds
from fedpriv.attacks.relays.victim import Sealed, Victim, first_message, known_credentials
from fedpriv.relays import mac
from fedpriv.relays.sessions import now_ms
from fedpriv.services.secret_files import read_secrets
from fedpriv.sharing.opening import Credentials

_HEADER_BYTES = 84
_SESSION, _EXPIRY = slice(8, 24), slice(40, 48)
_LATE_MS = 800
_CLIENT = "client-2"

Headers = Callable[[int, str, bytes], dict[str, str]]
"""From the attempt's number, relay and body: headers of the request."""


async def replayed_handshake(scene: Scene, attempts: int) -> Tally:
    """A client's first message again, through any relay.

    The model server remembers first messages while their clocks would do. One that was killed meanwhile does
    not, and opens a session that nobody can use: only the client knows the key that belongs to it.

    Accepted: the model server opened another session.
    """
    tally = Tally()
    firsts = [(await Victim.open(scene, _CLIENT)).first for _ in range(5)]

    async def one(number: int) -> None:
        relay = scene.random.choice(scene.plan.names)
        tally.note(*_opened(*await scene.post(scene.url(relay) + SESSIONS, firsts[number % len(firsts)])))

    await at_once(range(attempts), one)
    return tally


async def forged_relay(scene: Scene, attempts: int) -> Tally:
    """A genuine piece straight to the model server, in the name of its relay.

    In turn: unsigned; in a name that is not enrolled; signed with a random key; with another relay's
    key; with the relay's signature of another body; with its signature for another path.

    Accepted: the model server took the piece.
    """
    keys = read_secrets(scene.services.layout.folder / "relays.secret", mac.KEY_BYTES)

    def headers(number: int, relay: str, body: bytes) -> dict[str, str]:
        other = next(name for name in keys if name != relay)
        match number % 6:
            case 0:
                return {}
            case 1:
                return mac.sign("z", secrets.token_bytes(32), SHARES, body, now_ms())
            case 2:
                return mac.sign(relay, secrets.token_bytes(32), SHARES, body, now_ms())
            case 3:
                return mac.sign(relay, keys[other], SHARES, body, now_ms())
            case 4:
                return mac.sign(relay, keys[relay], SHARES, body[:-1] + bytes([body[-1] ^ 1]), now_ms())
            case _:
                return mac.sign(relay, keys[relay], SESSIONS, body, now_ms())

    return await _to_model_server(scene, range(attempts), headers)


async def forged_sender(scene: Scene, attempts: int) -> Tally:
    """Who is no client, or not this one.

    In turn: a handshake under a key id that is not enrolled; under a client's, with a wrong secret;
    random bytes under the header of a piece that just passed; the same for a session made up.

    Accepted: the model server opened a session, or took the piece.
    """
    tally = Tally()
    victim = await Victim.open(scene)
    settings, known = scene.client("client-1"), known_credentials(scene, "client-1")

    async def shake(credentials: Credentials) -> None:
        _, first = first_message(settings.server_public, credentials, settings.scheme, now_ms())
        relay = scene.random.choice(scene.plan.names)
        tally.note(*_opened(*await scene.post(scene.url(relay) + SESSIONS, first)))

    async def one(number: int) -> None:
        secret = known.secret if scene.known_secret else secrets.token_bytes(32)
        match number % 4:
            case 0:
                await shake(Credentials(secrets.token_bytes(8), secrets.token_bytes(32)))
            case 1:
                await shake(Credentials(known.key_id, secret))
            case kind:
                sealed = victim.seal()
                which = number % len(sealed.pieces)
                piece = bytearray(sealed.pieces[which])
                piece[_HEADER_BYTES:] = secrets.token_bytes(len(piece) - _HEADER_BYTES)
                if kind == 3:
                    piece[_SESSION] = secrets.token_bytes(16)
                said = await scene.share(sealed.relays[which], bytes(piece))
                tally.note(said.label in TAKEN, said.label)
                tally.victim(*await victim.deliver(sealed))

    await at_once(range(attempts), one)
    return tally


async def expired(scene: Scene, attempts: int) -> Tally:
    """All pieces of an image that relays kept back until they had expired; half with a later expiry.

    Accepted: the model server took a piece.
    """
    tally = Tally()
    for count in rounds(attempts, 100):
        victim = await Victim.open(scene, share_ms=_LATE_MS)
        images = [victim.seal() for _ in range(count)]
        await asyncio.sleep(_LATE_MS / 1000 + 0.1)

        async def one(pair: tuple[int, Sealed]) -> None:
            number, sealed = pair
            pieces = [bytearray(piece) for piece in sealed.pieces]
            if number % 2:
                for piece in pieces:
                    piece[_EXPIRY] = (now_ms() + 60_000).to_bytes(8, "big")
            said = await asyncio.gather(
                *(
                    scene.share(relay, bytes(piece))
                    for relay, piece in zip(sealed.relays, pieces, strict=True)
                )
            )
            tally.note(any(each.label in TAKEN for each in said), together(said))

        await at_once(enumerate(images), one)
    return tally


async def clock_skew(scene: Scene, attempts: int) -> Tally:
    """Messages whose clocks are off: recorded ones that come late, and ones that come before their time.

    In turn: first messages of a client, and genuine pieces in bodies that their relay signed, both by a
    clock that is one second more off than the model server bears, or five minutes, a day, or years.

    Accepted: the model server opened a session or took the piece.
    """
    tally = Tally()
    settings, known = scene.client(_CLIENT), known_credentials(scene, _CLIENT)
    keys = read_secrets(scene.services.layout.folder / "relays.secret", mac.KEY_BYTES)
    least = round(scene.server.max_skew_s * 1000) + 1000
    off = [sign * each for each in (least, 300_000, 86_400_000, 10**11) for sign in (-1, 1)]

    async def one(number: int) -> None:
        clock = now_ms() + off[number // 2 % len(off)]
        _, first = first_message(settings.server_public, known, settings.scheme, clock)
        relay = scene.random.choice(scene.plan.names)
        tally.note(*_opened(*await scene.post(scene.url(relay) + SESSIONS, first)))

    await at_once(range(0, attempts, 2), one)

    def headers(number: int, relay: str, body: bytes) -> dict[str, str]:
        return mac.sign(relay, keys[relay], SHARES, body, now_ms() + off[number // 2 % len(off)])

    pieces = await _to_model_server(scene, range(1, attempts, 2), headers)
    pieces.attempted += tally.attempted
    pieces.accepted += tally.accepted
    pieces.refused_as += tally.refused_as
    return pieces


async def _to_model_server(scene: Scene, numbers: range, headers: Headers) -> Tally:
    """Send genuine pieces straight to the model server, then all as the client would."""
    tally = Tally()
    victim = await Victim.open(scene)

    async def one(number: int) -> None:
        sealed = victim.seal()
        which = number % len(sealed.pieces)
        relay, piece = sealed.relays[which], sealed.pieces[which]
        said = await scene.share("model_server", piece, headers(number, relay, piece))
        tally.note(said.label in TAKEN, said.label)
        tally.victim(*await victim.deliver(sealed))

    await at_once(numbers, one)
    return tally


def _opened(status: int, body: bytes) -> tuple[bool, str]:
    said = read_said(status, body) if status != 200 else Said(ANSWERED, None)
    return status == 200, said.label
