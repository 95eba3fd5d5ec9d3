"""Senders that want a service's memory, connections or time."""

import asyncio
import contextlib
import time
import urllib.parse

from fedpriv.attacks.relays.honest import AT_ONCE
from fedpriv.attacks.relays.said import CLOSED, TAKEN, read_said
from fedpriv.attacks.relays.scene import SESSIONS, SHARES, Scene
from fedpriv.attacks.relays.tally import Tally
from fedpriv.attacks.relays.together import at_once
from fedpriv.attacks.relays.victim import Sealed, Victim
from fedpriv.sharing.admission import MAX_FIRST_BYTES
from fedpriv.sharing.causes import Cause
from fedpriv.sharing.envelope import HEADER_BYTES, MAX_BATCH, envelope_bytes

_READS = 6
ALIVE = "alive"
_TAKEN = (ALIVE, "http_200")
_TRICKLE_S = 0.25
_SAMPLE_S = 0.05
_SLACK_S = 2.0


async def oversized_body(scene: Scene, attempts: int) -> Tally:
    """More than a service takes, to a relay and to the model server in turn.

    In turn: a body over the limit; the same in chunks of unknown number; one that announces a terabyte; more
    envelopes than a body may hold; a first message that is too long; headers over the limit.

    Accepted: the service answered with status 200, or still waits for more long after its time limit.
    """
    tally = Tally()
    size = envelope_bytes(scene.plan.scheme, scene.server.payload_bytes)
    envelope = (b"FPS\x01".ljust(HEADER_BYTES - 4, b"\0") + (size - HEADER_BYTES).to_bytes(4, "big")).ljust(
        size, b"\0"
    )
    limits = scene.server.http
    over = envelope * (limits.max_body_bytes // size + 1)

    async def one(number: int) -> None:
        service = ("a", "model_server")[number // 6 % 2]
        match number % 6:
            case 0:
                said = await _raw(scene, service, SHARES, {"content-length": str(len(over))}, over)
            case 1:
                chunks = b"".join(b"10000\r\n" + over[at : at + 0x10000].ljust(0x10000, b"\0") + b"\r\n"
                                  for at in range(0, len(over), 0x10000))  # fmt: skip
                headers = {"transfer-encoding": "chunked"}
                said = await _raw(scene, service, SHARES, headers, chunks + b"0\r\n\r\n")
            case 2:
                said = await _raw(scene, service, SHARES, {"content-length": str(10**12)}, envelope)
            case 3:
                said = await _posted(scene, "a", SHARES, envelope * (MAX_BATCH + 1))
            case 4:
                said = await _posted(scene, "a", SESSIONS, bytes(MAX_FIRST_BYTES + 1))
            case _:
                headers = {"x-padding": "x" * (limits.max_header_bytes + 1), "content-length": "1"}
                said = await _raw(scene, service, SHARES, headers, b"x")
        tally.note(said in _TAKEN, said)

    await at_once(range(attempts), one, most=4)
    return tally


async def slow_sender(scene: Scene, attempts: int) -> Tally:
    """Connections that send a few bytes a second, all at once: of headers, or of a body.

    Accepted: a connection still lives some seconds after the time that the service gives it, or got an
    answer other than a refusal.
    """
    tally = Tally()
    limits = scene.server.http
    body = b"POST /v1/shares HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n\r\n"

    async def one(number: int) -> None:
        service = ("a", "model_server")[number // 2 % 2]
        slow_body = bool(number % 2)
        limit = limits.body_s if slow_body else limits.header_s
        said = await _trickle(
            scene, service, body if slow_body else b"POST /v1/shares HTTP/1.1\r\n", limit + scene.patience_s
        )
        tally.note(said in _TAKEN, said)

    await at_once(range(attempts), one, most=200)
    return tally


async def half_finished_flood(scene: Scene, attempts: int) -> Tally:
    """An enrolled client leaves a piece out of every image: as many as fill its room, and the attempts more.

    Within the room pieces are held until the set's time is over; that is no acceptance, it is what the room
    is for.

    Accepted: an image held beyond the client's room, or still held some seconds after the time of sets, as
    the server's gauge has it; or by as many bytes as the server's resident memory grew beyond the room and
    48 MiB.
    """
    tally = Tally()
    settings = scene.server
    share = settings.payload_bytes + 32  # its salt is counted neither; rather too large
    pieces = scene.plan.shares - 1
    count = attempts + settings.max_client_bytes // (pieces * settings.payload_bytes)
    images: list[Sealed] = []
    for start in range(0, count, 100):
        victim = await Victim.open(scene, "client-2")
        images += [victim.seal() for _ in range(min(100, count - start))]
    peak, going = 0, True

    async def watch() -> None:
        nonlocal peak
        while going:
            peak = max(peak, (await scene.counters()).partial_bytes)
            await asyncio.sleep(_SAMPLE_S)

    async def piece(sealed: Sealed, which: int) -> str:
        begun = time.monotonic()
        said = await scene.share(sealed.relays[which], sealed.pieces[which], tries=1)
        early = said.label == Cause.BUSY.label and time.monotonic() - begun < 0.5 * settings.hold_s
        return "no_room" if early else "held_then_dropped" if said.label in TAKEN else said.label

    async def one(sealed: Sealed) -> str:
        said = await asyncio.gather(*(piece(sealed, which) for which in range(pieces)))
        return "+".join(sorted(set(said)))

    watching = asyncio.create_task(watch())
    async with scene.watch_memory(["model_server"]) as memory:
        said = await at_once(images, one, most=len(images))
        await asyncio.sleep(settings.set_timeout_s + _SLACK_S)
    going = False
    await watching
    honest = AT_ONCE * pieces * share
    beyond = max(0, peak - settings.max_client_bytes - honest)
    left = max(0, (await scene.counters()).partial_bytes - honest)
    held = max(beyond + left, memory.beyond - settings.max_client_bytes)
    accepted = max(0, min(count, -(-held // (pieces * settings.payload_bytes))))
    scene.account.asked += count  # what was held, the server counted as accepted
    for each, label in enumerate(said):
        tally.note(each < accepted, label)
    return tally


async def _posted(scene: Scene, service: str, path: str, body: bytes) -> str:
    status, reply = await scene.post(scene.url(service) + path, body)
    return "http_200" if status == 200 else read_said(status, reply).label


async def _raw(scene: Scene, service: str, path: str, headers: dict[str, str], body: bytes) -> str:
    """Send bytes as they are; return the cause or status of what comes back."""
    reader, writer = await _connected(scene, service)
    lines = [f"POST {path} HTTP/1.1", "host: x", *(f"{name}: {value}" for name, value in headers.items())]
    try:
        with contextlib.suppress(OSError):
            writer.write("\r\n".join([*lines, "", ""]).encode() + body)
            await writer.drain()
        return await _status(reader, _READS * scene.patience_s)
    finally:
        await _close(writer)


async def _trickle(scene: Scene, service: str, begin: bytes, seconds: float) -> str:
    """Send a byte now and then; return what comes back, or ``alive`` after ``seconds``."""
    reader, writer = await _connected(scene, service)
    until = time.monotonic() + seconds
    answer = asyncio.create_task(_status(reader, 2 * seconds))
    try:
        writer.write(begin)
        while time.monotonic() < until:
            with contextlib.suppress(OSError):
                writer.write(b"x")
                await writer.drain()
            done, _ = await asyncio.wait([answer], timeout=_TRICKLE_S)
            if done:
                return answer.result()
        return ALIVE
    finally:
        answer.cancel()
        await asyncio.gather(answer, return_exceptions=True)
        await _close(writer)


async def _connected(scene: Scene, service: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    parsed = urllib.parse.urlsplit(scene.url(service))
    return await asyncio.open_connection(parsed.hostname, parsed.port)


async def _status(reader: asyncio.StreamReader, seconds: float) -> str:
    """Return the label of the first response; ``closed`` or ``alive`` when the connection ends, or hangs."""
    try:
        async with asyncio.timeout(seconds):
            line = await reader.readline()
        return f"http_{int(line.split()[1])}"
    except TimeoutError:
        return ALIVE
    except (OSError, ValueError, IndexError):
        return CLOSED


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(1.0):
            await writer.wait_closed()
