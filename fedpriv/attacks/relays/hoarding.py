"""Connections without a key that make a service keep things: requests sent ahead, answers never read."""

import asyncio
import contextlib
import socket
import urllib.parse

from fedpriv.attacks.relays.exhaustion import ALIVE
from fedpriv.attacks.relays.said import CLOSED
from fedpriv.attacks.relays.scene import Scene
from fedpriv.attacks.relays.tally import Tally
from fedpriv.attacks.relays.together import at_once

_SERVICES = ("a", "model_server", "gateway")
_AHEAD = b"GET /x HTTP/1.1\r\n\r\n" * 13_800
"""256 KiB: undefended, some 25 MiB of a service's memory."""
_AT_ONCE = 24
_LOOK_S = 1.5
_HOARDED = 4 << 20
_WARM_S = 1.0
_ASK = b"GET /openapi.json HTTP/1.1\r\nhost: x\r\n\r\n"
_ASKED = 14
"""Requests at once: fewer than a service lets wait; the answers to twice as many are more than it buffers."""
_PAUSE_S = 1.0
_SILENCE_S = 1.0
_NARROW = 2048, 536
"""Bytes of the receiver's buffer, and of a segment: little is on its way that nobody reads."""


async def pipelined_flood(scene: Scene, attempts: int) -> Tally:
    """Connections that send 13,800 requests each before the first is answered, many at once.

    Accepted: every 4 MiB by which the services' resident memory grew beyond 48 MiB, as the system counts it.
    """
    tally = Tally()
    await asyncio.sleep(_WARM_S)  # honest traffic begins
    async with scene.watch_memory(_SERVICES) as memory:

        async def one(number: int) -> str:
            address = _address(scene, _SERVICES[number % len(_SERVICES)])
            reader, writer = await asyncio.open_connection(*address)
            reading = asyncio.create_task(_closed(reader))
            try:
                with contextlib.suppress(OSError, TimeoutError):
                    async with asyncio.timeout(scene.patience_s):
                        writer.write(_AHEAD)
                        await writer.drain()
                await asyncio.wait([reading], timeout=max(_LOOK_S, scene.patience_s))
                return CLOSED if reading.done() else ALIVE
            finally:
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)
                writer.transport.abort()

        said = await at_once(range(attempts), one, most=_AT_ONCE)
    accepted = min(attempts, -(-memory.beyond // _HOARDED))
    for number, label in enumerate(said):
        tally.note(number < accepted, label)
    return tally


async def slow_reader(scene: Scene, attempts: int) -> Tally:
    """Connections that ask for 160 kB and read nothing.

    Accepted: the service still keeps the connection, and so a request, some seconds after the time that it
    gives its answers to be read.
    """
    tally = Tally()
    wait_s = scene.server.http.body_s + scene.patience_s
    loop = asyncio.get_running_loop()

    async def one(number: int) -> None:
        with socket.socket() as connection:
            connection.setblocking(False)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _NARROW[0])
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, _NARROW[1])
            await loop.sock_connect(connection, _address(scene, _SERVICES[number % len(_SERVICES)]))
            with contextlib.suppress(OSError):
                for _ in range(2):
                    await loop.sock_sendall(connection, _ASK * _ASKED)
                    await asyncio.sleep(_PAUSE_S)
            await asyncio.sleep(wait_s)
            said = await _rest(connection)
        tally.note(said == ALIVE, said)

    await at_once(range(attempts), one, most=50)
    return tally


async def _closed(reader: asyncio.StreamReader) -> None:
    """Return when the connection ends."""
    with contextlib.suppress(OSError):
        while await reader.read(1 << 16):
            pass


async def _rest(connection: socket.socket) -> str:
    """Read what is left; return whether the connection ends with it."""
    loop = asyncio.get_running_loop()
    try:
        while True:
            async with asyncio.timeout(_SILENCE_S):
                if not await loop.sock_recv(connection, 1 << 16):
                    return CLOSED
    except TimeoutError:
        return ALIVE
    except OSError:
        return CLOSED


def _address(scene: Scene, service: str) -> tuple[str, int]:
    parsed = urllib.parse.urlsplit(scene.url(service))
    return parsed.hostname or "", parsed.port or 0
