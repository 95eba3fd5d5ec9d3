"""What all services have: health, metrics, typed refusals, limits; and responses that stream frames."""

import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.types import DecoratedCallable
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.routing import Match
from starlette.types import Message, Receive, Scope, Send

from fedpriv import __version__
from fedpriv.relays.frames import ReplyStream
from fedpriv.relays.limits import LimitsMiddleware
from fedpriv.relays.metrics import CONTENT_TYPE, ServiceMetrics
from fedpriv.relays.settings import ServiceSettings
from fedpriv.sharing.answer import RECORD_BYTES
from fedpriv.sharing.causes import Cause, SharingError

OCTETS = "application/octet-stream"
SHARES, SESSIONS, IMAGES = "/v1/shares", "/v1/sessions", "/v1/images"
FRAMES = "One frame per envelope, as it becomes ready"
HANDSHAKE = "The second message of the handshake"
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_STATUSES: dict[Cause, int] = {
    Cause.MALFORMED: 400,
    Cause.WRONG_SIZE: 400,
    Cause.WRONG_VERSION: 400,
    Cause.NOT_OFFERED: 400,
    Cause.REPLAYED_HANDSHAKE: 409,
    Cause.BUSY: 503,
}


class Health(BaseModel):
    """A service that runs."""

    status: str
    service: str
    version: str


class Refusal(BaseModel):
    """Why a request was refused."""

    cause: str
    detail: str


class Refused(Exception):
    """Ends a request with a :class:`Refusal`."""

    def __init__(self, status: int, cause: str, detail: str) -> None:
        """Refuse with a status of HTTP."""
        super().__init__(detail)
        self.status, self.cause, self.detail = status, cause, detail


class FrameResponse(Response):
    """Streams frames as they become ready; its length is known from the start."""

    media_type = OCTETS

    def __init__(self, stream: ReplyStream, count: int) -> None:
        """Stream ``count`` frames."""
        super().__init__(headers={"content-length": str(count * (1 + RECORD_BYTES))})
        self._stream = stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send; headers leave with the first frames, which wakes who receives them once and not twice."""
        start: Message | None = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        async for piece in self._stream.frames():
            if start is not None:
                await send(start)
                start = None
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


def new_service(
    title: str,
    settings: ServiceSettings,
    metrics: ServiceMetrics,
    lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]],
) -> FastAPI:
    """Return an application with health, metrics, limits and one-line refusals."""
    app = FastAPI(
        title=f"fedpriv {title}", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None
    )
    app.add_middleware(LimitsMiddleware, limits=settings.http, observer=metrics)
    app.state.metrics = metrics

    async def refused(_: Request, error: Exception) -> Response:
        assert isinstance(error, Refused)  # noqa: S101 - registered for it alone
        headers = {"retry-after": "1"} if error.status == 503 else None
        return JSONResponse({"cause": error.cause, "detail": error.detail}, error.status, headers)

    async def not_shared(_: Request, error: Exception) -> Response:
        assert isinstance(error, SharingError)  # noqa: S101 - registered for it alone
        detail = str(error).removeprefix(f"{error.cause.label}: ")
        return JSONResponse({"cause": error.cause.label, "detail": detail}, _STATUSES.get(error.cause, 403))

    async def not_valid(_: Request, error: Exception) -> Response:
        return JSONResponse({"cause": "malformed", "detail": _first_fault(error)}, 422)

    async def not_found(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101 - registered for it alone
        # the router names the methods of the first route of a path, RFC 9110 (15.5.6) those of all
        headers = {"allow": _methods(request)} if error.status_code == 405 else error.headers
        return JSONResponse({"cause": "http", "detail": error.detail}, error.status_code, headers)

    app.add_exception_handler(Refused, refused)
    app.add_exception_handler(SharingError, not_shared)
    app.add_exception_handler(RequestValidationError, not_valid)
    app.add_exception_handler(HTTPException, not_found)

    @app.get("/healthz", response_model=Health, responses=refusals(), tags=["service"])
    async def healthz() -> Response:
        """Tell that the service runs."""
        return JSONResponse({"status": "ok", "service": settings.service, "version": __version__})

    @app.get(
        "/metrics",
        response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **refusals()},
        tags=["service"],
    )
    async def prometheus() -> Response:
        """Return counters and histograms in Prometheus' text format."""
        return Response(metrics.text(), headers={"content-type": CONTENT_TYPE})

    return app


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Document refusals of a route, those of the limits included."""
    texts = {
        400: "The body is malformed",
        401: "No enrolled relay forwarded this just now",
        403: "No enrolled client, or clocks too far apart",
        404: "There is no such thing",
        408: "The body came too slowly",
        409: "This was accepted before",
        413: "The body is too large",
        415: "The body is no image",
        422: "What is asked for is not offered, or not understood",
        431: "The headers are too large",
        500: "The service's settings cannot work",
        503: "A bound is reached, or what is behind this service cannot be reached: come again",
        504: "No answer in time",
    }
    return {
        status: {"description": texts[status], "model": Refusal}
        for status in sorted({*statuses, 400, 408, 413, 431, 503})
    }


def takes_octets(
    app: FastAPI, path: str, gives: str, *statuses: int, tag: str
) -> Callable[[DecoratedCallable], DecoratedCallable]:
    """Register a POST of bytes, read raw, that is answered by bytes; as decorator.

    Args:
        app: to register it with.
        path: of the route.
        gives: what the response is.
        statuses: of refusals, beside those of the limits.
        tag: whom it is for.
    """
    return app.post(
        path,
        response_class=Response,
        responses={**gives_octets(gives), **refusals(*statuses)},
        openapi_extra={"requestBody": {"required": True, "content": {OCTETS: _BINARY}}},
        tags=[tag],
    )


def gives_octets(description: str) -> dict[int | str, dict[str, Any]]:
    """Document a response of bytes."""
    return {200: {"description": description, "content": {OCTETS: _BINARY}}}


def now_ms() -> int:
    """Return milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def _first_fault(error: Exception) -> str:
    faults = error.errors() if isinstance(error, RequestValidationError) else []
    if not faults:
        return "request: is not understood"
    place = ".".join(str(part) for part in faults[0].get("loc", ()))
    return f"{place}: {faults[0].get('msg', 'is not understood')}"


def _methods(request: Request) -> str:
    routes = [each for each in request.app.routes if each.matches(request.scope)[0] is not Match.NONE]
    return ", ".join(sorted({method for each in routes for method in getattr(each, "methods", None) or ()}))
