"""The application that every service begins with: health, metrics, typed refusals, limits."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.types import DecoratedCallable
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.routing import Match
from starlette.types import Scope

from fedpriv import __version__
from fedpriv.errors import UserError
from fedpriv.services.limits import LimitsMiddleware
from fedpriv.services.limits import Refused as Refused
from fedpriv.services.metrics import CONTENT_TYPE, ServiceMetrics
from fedpriv.services.settings import ServiceSettings

OCTETS = "application/octet-stream"
BINARY: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}
"""Bytes, for OpenAPI."""
OCTETS_BODY: dict[str, Any] = {"requestBody": {"required": True, "content": {OCTETS: BINARY}}}
"""A request whose body is bytes, for OpenAPI."""
_TEXTS = {
    400: "The body is malformed",
    401: "Nobody known signed this just now",
    403: "Whoever asks is not enrolled or not served, or clocks are too far apart",
    404: "There is no such thing",
    408: "The body came too slowly",
    409: "This was accepted before, or is out of date",
    413: "The body is too large",
    415: "The body is of no kind that is taken",
    422: "What is asked for is not offered, or not understood",
    429: "Whoever asks has spent its budget",
    431: "The headers are too large",
    500: "The service's settings cannot work",
    503: "A bound is reached, or what is behind this service cannot be reached: come again",
    504: "No answer in time",
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


def new_service(
    title: str,
    settings: ServiceSettings,
    metrics: ServiceMetrics,
    lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]],
    admits: Callable[[Scope], None] | None = None,
) -> FastAPI:
    """Return an application with health, metrics, limits and one-line refusals.

    Args:
        title: of it.
        settings: with the limits.
        metrics: are told of every request.
        lifespan: of the application.
        admits: see :class:`~fedpriv.services.limits.LimitsMiddleware`.
    """
    app = FastAPI(
        title=f"fedpriv {title}", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None
    )
    app.add_middleware(LimitsMiddleware, limits=settings.http, observer=metrics, admits=admits)
    app.state.metrics = metrics

    async def refused(_: Request, error: Exception) -> Response:
        assert isinstance(error, Refused)  # noqa: S101 - registered for it alone
        headers = {"retry-after": "1"} if error.status == 503 else None
        return JSONResponse({"cause": error.cause, "detail": error.detail}, error.status, headers)

    async def not_valid(_: Request, error: Exception) -> Response:
        return JSONResponse({"cause": "malformed", "detail": _first_fault(error)}, 422)

    async def not_found(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101 - registered for it alone
        # the router names the methods of the first route of a path, RFC 9110 (15.5.6) those of all
        headers = {"allow": _methods(request)} if error.status_code == 405 else error.headers
        return JSONResponse({"cause": "http", "detail": error.detail}, error.status_code, headers)

    app.add_exception_handler(Refused, refused)
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


@contextmanager
def telling(
    metrics: ServiceMetrics,
    causes: Mapping[type[UserError], tuple[int, str]],
    text: Callable[[UserError], str] = str,
) -> Iterator[None]:
    """Count work that is done inside; what is wrong with a request is its sender's to read.

    Args:
        metrics: count ``answered``, or the cause.
        causes: status and cause by what is raised; any other mistake is ``malformed`` (400).
        text: what the sender is told of it.

    Raises:
        Refused: instead of a user's mistake.
    """
    try:
        yield
    except UserError as error:
        status, cause = causes.get(type(error), (400, "malformed"))
        metrics.outcome(cause)
        raise Refused(status, cause, text(error)) from error
    metrics.outcome("answered")


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Document refusals of a route, those of the limits included."""
    return {
        status: {"description": _TEXTS[status], "model": Refusal}
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
        openapi_extra=OCTETS_BODY,
        tags=[tag],
    )


def gives_octets(description: str) -> dict[int | str, dict[str, Any]]:
    """Document a response of bytes."""
    return {200: {"description": description, "content": {OCTETS: BINARY}}}


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
