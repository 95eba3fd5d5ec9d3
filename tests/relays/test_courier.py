"""What becomes of an item whose server never answers, or answers no more."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import aiohttp
import pytest

from fedpriv.relays import courier, passing
from fedpriv.relays.courier import Courier, NotDelivered
from fedpriv.services.outgoing import connections
from fedpriv.services.service import Refused

HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 1028\r\n\r\n"


@contextlib.asynccontextmanager
async def saying(said: bytes) -> AsyncIterator[str]:
    """A server that says this to every connection, and then nothing more."""
    writers = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        await reader.read(1)
        writer.write(said)
        await writer.drain()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for writer in writers:
            writer.close()


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (courier, passing):
        monkeypatch.setattr(module, "TIMEOUT", aiohttp.ClientTimeout(total=0.3))


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("said", [b"", HEAD, HEAD + bytes(600)], ids=["nothing", "headers", "one frame"])
def test_an_item_whose_server_falls_silent_is_given_back(said):
    async def asked() -> list[bytes | NotDelivered]:
        async with saying(said) as url, connections() as http:
            sender = Courier(http, url)
            try:
                return await asyncio.wait_for(asyncio.gather(sender.ask(b"one"), sender.ask(b"two")), 10)
            finally:
                await sender.close()

    first, second = asyncio.run(asked())
    assert isinstance(second, NotDelivered)
    assert second.status == 0
    assert "TimeoutError" in second.detail
    assert isinstance(first, bytes) is (len(said) > 600)


@pytest.mark.usefixtures("short")
def test_a_handshake_whose_server_falls_silent_is_refused():
    async def asked() -> None:
        async with saying(b"") as url, connections() as http:
            await asyncio.wait_for(passing.pass_handshake(http, url, b"hello", {}, "the model server"), 10)

    with pytest.raises(Refused, match="the model server cannot be reached"):
        asyncio.run(asked())


def test_a_handshake_whose_reply_comes_in_pieces_is_passed_on_whole():
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(HEAD)
        for piece in (bytes(100), b"\1" * 900, b"\2" * 28):
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.02)
        writer.close()
        await writer.wait_closed()
        ended.set()

    async def asked() -> bytes:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with server, connections() as http:
            found = bytes((await passing.pass_handshake(http, url, b"hello", {}, "the model server")).body)
            await ended.wait()
            return found

    ended = asyncio.Event()
    assert asyncio.run(asked()) == bytes(100) + b"\1" * 900 + b"\2" * 28
