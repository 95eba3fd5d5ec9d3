"""A service that only echoes, on a real socket in this process."""

import asyncio
import contextlib
import socket
import threading
import urllib.parse
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI, Request, Response

from fedpriv.services.metrics import ServiceMetrics
from fedpriv.services.running import server
from fedpriv.services.service import OCTETS, Refused, new_service, takes_octets
from fedpriv.services.settings import HttpLimits, ServiceSettings

ECHO, LONG = "/v1/echo", "/v1/long"
LONG_BYTES = 5_700
PATHS = (ECHO, LONG, "/healthz", "/metrics")


def echoing(settings: ServiceSettings) -> FastAPI:
    """Return a service that answers a body by itself; one that begins with ``!`` is refused by its status."""
    metrics = ServiceMetrics(PATHS)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield

    app = new_service("echo", settings, metrics, lifespan)

    @takes_octets(app, ECHO, "The body", 429, tag="everybody")
    async def echo(request: Request) -> Response:
        """Answer with the body."""
        body = await request.body()
        metrics.outcome("answered")
        if body.startswith(b"!"):
            raise Refused(int(body[1:4]), "told", body[4:].decode())
        return Response(body, media_type=OCTETS)

    @app.get(LONG)
    async def long() -> Response:
        """Answer with many bytes."""
        return Response(b"{" + b"x" * (LONG_BYTES - 2) + b"}", media_type=OCTETS)

    return app


class Serving:
    """A service in a thread's event loop; a context manager.

    Attributes:
        app: the application.
        server: uvicorn's.
        url: of it.
    """

    def __init__(
        self, limits: HttpLimits, loop: asyncio.AbstractEventLoop | None = None, app: Any = echoing
    ) -> None:
        self.settings = ServiceSettings(port=0, service="echo", http=limits)
        self.app = app(self.settings)
        self.server = server(self.app, self.settings)
        self._loop = loop or asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> "Serving":
        self._thread.start()

        async def begin() -> Any:
            task = asyncio.ensure_future(self.server.serve())
            while not self.server.started and not task.done():
                await asyncio.sleep(0.005)
            return task

        self._task = self.call(begin())
        assert self.server.started
        self.port = self.server.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        return self

    def __exit__(self, *_: object) -> None:
        self.server.should_exit = True

        async def end() -> None:
            await self._task

        self.call(end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def call(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    def connect(self, narrow: bool = False) -> socket.socket:
        """Connect; ``narrow``: so that little is on its way that nobody reads."""
        at = urllib.parse.urlsplit(self.url)
        found = socket.socket()
        found.settimeout(10)
        if narrow:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            found.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
        found.connect((at.hostname, at.port))
        return found


def answer(connection: socket.socket) -> tuple[int, bytes]:
    """Return status and body of what comes until the service closes the connection."""
    received = b""
    with contextlib.suppress(ConnectionError):
        while piece := connection.recv(65536):
            received += piece
    head, _, body = received.partition(b"\r\n\r\n")
    return (int(head.split()[1]) if head else 0), body
