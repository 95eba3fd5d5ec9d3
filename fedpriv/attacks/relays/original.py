"""The original's design (Eye-Privacy) on real sockets: row bands in clear, and an id as the only check.

The application server cuts an image into three bands of rows and posts them one after another, each to
another of four relays, which post them on to the model server. Ids and sequences of relays come from a seed
that both ends share. Every body is JSON, ``{"id": int, "server": "a", "image_arr": rows x columns x 1}``.
The model server takes a band whose id is the current image's, puts it where the sequence has the server that
the band names, and has an image when there are three. Relay A is the adversary's: it hands over a copy
of each band, and ``GET /replaysplit`` posts the last one again.

As there: one image at a time, for all clients; a band replaces the one that came before it; bands
of other ids are dropped in silence; a name that is not in the sequence, and bands that do not fit together,
are an error 500, the latter with the counter already moved on and the bands kept; nothing is limited in size
or time, signed, sealed or sent again; what a relay is answered it never looks at.

Not as there: ids and sequences are drawn from the seed, as its text says, where its code has four constants;
a band has one channel; a model answers, of which there is none there; aiohttp serves instead of FastAPI; the
replay may be told to rewrite the id (``?id=``); images are handed to :meth:`Original.send`, not read
from files at ``GET /splitimgs``.
"""

import io
import json
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

from aiohttp import web

from fedpriv.attacks.relays.original_server import (
    RELAYS,
    Band,
    Built,
    OriginalModelServer,
    Slot,
    bands,
    read_band,
    slot,
)
from fedpriv.services.outgoing import connections
from fedpriv.serving.answers import Answer
from fedpriv.serving.image import GreyImage

_UNLIMITED = 1 << 40
_LARGE = 1 << 20
_Handler = Callable[[web.Request], Awaitable[web.Response]]
Hostile = Callable[[Band], Awaitable[None]]
"""What a hostile relay A does with a band, instead of passing it on."""


class Original:
    """All seven servers on loopback, in this process; ``async with``.

    Attributes:
        number: which image the application server sends next, from 0.
        seen: by relay, the last band that it was given.
        captured: the last band that the adversary was handed by relay A.
        hostile: what relay A does instead of passing on; None: as the original's, passes on, then hands over.
        urls: of the relays ``a`` to ``d``, of ``model_server`` and ``adversary``.
    """

    def __init__(self, model: Callable[[GreyImage], Answer] | None = None, seed: int = 0) -> None:
        """Plan.

        Args:
            model: answers every image that is put together.
            seed: of ids and sequences, known to both ends.
        """
        self._server = OriginalModelServer(model, seed)
        self._seed, self.number = seed, 0
        self.seen: dict[str, Band] = {}
        self.captured: Band | None = None
        self.hostile: Hostile | None = None
        self.urls: dict[str, str] = {}
        self._runners: list[web.AppRunner] = []

    @property
    def built(self) -> list[Built]:
        """All images put together, in order."""
        return self._server.built

    @property
    def slot(self) -> Slot:
        """Where the application server is in the schedule."""
        return slot(self._seed, self.number)

    def begin(self, seed: int | None = None) -> None:
        """Start both ends anew, with another seed or, as after a restart, with the same."""
        self._seed = self._seed if seed is None else seed
        self.number = 0
        self._server.begin(self._seed)

    async def __aenter__(self) -> Self:
        """Start all servers."""
        self._http = connections()
        await self._serve("model_server", web.post("/sendsplit/", self._send_split))
        for name in RELAYS:
            await self._serve(name, web.post("/sendimagesplit/", self._relay(name)))
        await self._serve(
            "adversary", web.post("/capturesplit/", self._capture), web.get("/replaysplit", self._replay)
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop them."""
        await self._http.close()
        for runner in self._runners:
            await runner.cleanup()

    async def send(
        self, image: GreyImage, between: Callable[[int], Awaitable[None]] | None = None
    ) -> list[Built]:
        """Send an image as the application server does, and return what was put together meanwhile.

        Args:
            image: (height, width) uint8; height a multiple of 3.
            between: called after each band with how many have been sent.
        """
        before = len(self.built)
        for sent, band in enumerate(bands(image, self.slot), start=1):
            await self.pass_on(band["server"], band)
            if between is not None:
                await between(sent)
        self.number += 1
        return self.built[before:]

    async def pass_on(self, relay: str, band: Band) -> int:
        """Post a band to a relay; return the status."""
        return await self._post(f"{self.urls[relay]}/sendimagesplit/", band)

    async def deliver(self, band: Band) -> int:
        """Post a band to the model server, which asks nobody who they are; return the status."""
        return await self._post(f"{self.urls['model_server']}/sendsplit/", band)

    async def replay(self, rewritten: int | None = None) -> None:
        """Have the adversary post the captured band again, as it is or with another id."""
        query = "" if rewritten is None else f"?id={rewritten}"
        async with self._http.get(f"{self.urls['adversary']}/replaysplit{query}") as response:
            await response.read()

    async def _post(self, url: str, band: Band) -> int:
        body = json.dumps(band).encode()
        data = body if len(body) <= _LARGE else io.BytesIO(body)  # aiohttp warns of large bytes
        async with self._http.post(url, data=data) as response:
            await response.read()
            return response.status

    async def _serve(self, name: str, *routes: web.RouteDef) -> None:
        app = web.Application(client_max_size=_UNLIMITED)
        app.add_routes(routes)
        runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=0.1)
        await runner.setup()
        self._runners.append(runner)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.urls[name] = f"http://127.0.0.1:{runner.addresses[0][1]}"

    async def _send_split(self, request: web.Request) -> web.Response:
        band = await _band(request)
        try:
            self._server.take(band)
        except (ValueError, OverflowError, IndexError) as error:
            raise web.HTTPInternalServerError from error
        return web.json_response(self._server.counter)

    def _relay(self, name: str) -> _Handler:
        async def send_image_split(request: web.Request) -> web.Response:
            band = self.seen[name] = await _band(request)
            if name == RELAYS[0] and self.hostile is not None:
                await self.hostile(band)
                return web.json_response(None)
            await self.deliver(band)
            if name == RELAYS[0]:
                await self._post(f"{self.urls['adversary']}/capturesplit/", band)
            return web.json_response(None)

        return send_image_split

    async def _capture(self, request: web.Request) -> web.Response:
        self.captured = await _band(request)
        return web.json_response(None)

    async def _replay(self, request: web.Request) -> web.Response:
        if self.captured is None:
            raise web.HTTPInternalServerError
        rewritten = {"id": int(request.query["id"])} if "id" in request.query else {}
        await self.deliver({**self.captured, **rewritten})
        return web.json_response(None)


async def _band(request: web.Request) -> Band:
    try:
        return read_band(await request.read())
    except ValueError as error:
        raise web.HTTPUnprocessableEntity from error
    except ConnectionError as error:  # gone before its body was whole
        raise web.HTTPBadRequest from error
