"""A relay that passes shares on and lies about what came back: answers stay right, and come."""

import asyncio
import contextlib

import aiohttp
import pytest
from aiohttp import web

from fedpriv.relays.frames import ReplyStream
from fedpriv.serving.defaults import default_models
from fedpriv.sharing.answer import RECORD_BYTES, Record, pack_records
from fedpriv.sharing.causes import Cause
from fedpriv.sharing.envelope import cut_batch
from tests.relays.running import Running


async def _frames(count: int, record: bytes) -> bytes:
    stream = ReplyStream(count)
    for position in range(count):
        stream.put(position, record)
    return b"".join([piece async for piece in stream.frames()])


LIES = {
    "a forged answer": lambda count: _frames(count, pack_records([Record(None, b"x" * 512)])),
    "an answer with a cause": lambda count: _frames(
        count, pack_records([Record(Cause.ALREADY_USED, b"x" * 512)])
    ),
    **{
        cause.label: lambda count, cause=cause: _frames(count, pack_records([Record(cause, None)]))
        for cause in (
            Cause.UNKNOWN_SESSION,
            Cause.EXPIRED_SESSION,
            Cause.ALREADY_USED,
            Cause.FAILED,
            Cause.BUSY,
            Cause.INCOMPLETE,
        )
    },
    "a cause that does not exist": lambda count: _frames(count, b"\xee" + bytes(RECORD_BYTES - 1)),
    "too few frames": lambda count: _frames(0, b""),
    "too many frames": lambda count: _frames(count + 1, pack_records([Record(Cause.FAILED, None)])),
    "garbage": lambda count: _frames(1, b"\xff" * 5000),
}


@contextlib.asynccontextmanager
async def lying_relay(honest: str, lie):
    """Serve in a relay's place: forward for real, answer with a lie, and break handshakes."""
    http = aiohttp.ClientSession()
    forwarded: set[asyncio.Task[None]] = set()

    async def forward(body: bytes) -> None:
        async with http.post(honest + "/v1/shares", data=body) as reply:
            await reply.read()

    async def shares(request: web.Request) -> web.Response:
        body = await request.read()
        task = asyncio.create_task(forward(body))
        forwarded.add(task)
        return web.Response(body=await lie(len(cut_batch(body))), content_type="application/octet-stream")

    async def sessions(request: web.Request) -> web.Response:
        return web.Response(body=bytes(300))

    app = web.Application()
    app.add_routes([web.post("/v1/shares", shares), web.post("/v1/sessions", sessions)])
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}", forwarded
    finally:
        await asyncio.gather(*forwarded, return_exceptions=True)
        await runner.cleanup()
        await http.close()


@pytest.mark.parametrize("lie", LIES)
def test_what_a_relay_says_changes_no_answer(running: Running, eyes, lie) -> None:
    urls = running.layout.urls

    async def go():
        async with lying_relay(urls["relay-b"], LIES[lie]) as (liar, forwarded):
            relays = {name: urls[f"relay-{name}"] for name in "abcd"}
            async with running.client("client-1", relays={**relays, "b": liar}) as client:
                asked = await asyncio.gather(*(client.ask(image) for image in eyes * 2))
            return asked, len(forwarded)

    asked, lies = asyncio.run(go())
    assert [each.answer for each in asked] == default_models().answer(eyes * 2, [("gaze", "emotion")] * 12)
    assert lies  # though a client avoids a relay that it has found out
