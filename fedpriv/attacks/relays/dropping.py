"""A relay that loses what it is given: half of it, in every way that a client can tell or not."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from aiohttp import web

from fedpriv.attacks.relays.scene import SHARES, Scene
from fedpriv.attacks.relays.tally import Tally
from fedpriv.attacks.relays.together import at_once
from fedpriv.relays.client import RelayClient, Unanswered
from fedpriv.sharing.causes import SharingError
from fedpriv.sharing.envelope import cut_batch

_RELAY = "b"
_SHARE_S = 1.5
_MOST_BODY = 1 << 20
_KINDS = ("refused", "cut", "swallowed", "answer_lost")


async def drop(scene: Scene, attempts: int) -> Tally:
    """A relay that loses every second body: refused, connection cut, kept for ever, answer kept.

    A relay that loses everything stops each image that needs it, and clients soon use the others: n of n
    shares bear N - n such relays, t of n shares N - t.

    Attempts are lost pieces, told apart by how they were lost; clients recover by sending again.

    Accepted: an image whose piece was lost never got its answer, or a wrong one.
    """
    tally = Tally()
    settings = scene.client("client-1")
    async with _lossy(scene) as (url, lost):
        relays = {**settings.relays, _RELAY: url}
        async with RelayClient(replace(settings, relays=relays, share_s=_SHARE_S)) as client:

            async def one(number: int) -> None:
                if sum(lost.values()) >= attempts and number >= attempts:
                    return
                which = number % len(scene.honest.images)
                try:
                    asked = await client.ask(scene.honest.images[which])
                except Unanswered:
                    tally.victim(False)
                else:
                    tally.victim(asked.answer == scene.honest.answers[which], asked.attempts - 1)
                    scene.account.asked += asked.attempts

            # until enough was lost
            await at_once(range(20 * attempts), one, most=12)
        tally.attempted = sum(lost.values())
        tally.accepted = tally.victims_lost
        tally.refused_as.update(lost)
    return tally


@asynccontextmanager
async def _lossy(scene: Scene) -> AsyncIterator[tuple[str, dict[str, int]]]:
    """Serve in a relay's place; yields the URL and how many pieces were lost in which way."""
    lost = dict.fromkeys(_KINDS, 0)
    seen = 0
    ended = asyncio.Event()

    async def shares(request: web.Request) -> web.StreamResponse:
        nonlocal seen
        body = await request.read()
        try:
            count = len(cut_batch(body))
        except SharingError:
            return web.Response(status=400)
        seen += 1
        kind = _KINDS[seen // 2 % len(_KINDS)] if seen % 2 else ""
        if kind:
            lost[kind] += count
        if kind == "refused":
            return web.Response(status=503)
        if kind == "cut":
            if request.transport is not None:
                request.transport.abort()
            return web.Response()
        if kind == "swallowed":
            await ended.wait()
            return web.Response(status=503)
        status, content = await scene.post(scene.url(_RELAY) + SHARES, body)
        if kind == "answer_lost":
            return web.Response(status=503)
        return web.Response(status=status or 502, body=content, content_type="application/octet-stream")

    async def sessions(request: web.Request) -> web.StreamResponse:
        status, content = await scene.post(scene.url(_RELAY) + request.path, await request.read())
        return web.Response(status=status or 502, body=content, content_type="application/octet-stream")

    app = web.Application(client_max_size=_MOST_BODY)
    app.add_routes([web.post(SHARES, shares), web.post("/v1/sessions", sessions)])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    try:
        await site.start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}", lost
    finally:
        ended.set()
        await runner.cleanup()
