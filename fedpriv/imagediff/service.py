"""The server: subtracts ciphertexts under keys that it cannot open."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from fedpriv.errors import UserError
from fedpriv.imagediff.answering import DifferenceServer, NotServed, UnknownKey
from fedpriv.imagediff.protocol import (
    CHANGES,
    DIFFERENCES,
    FORGET,
    KEYS,
    PATHS,
    REFERENCES,
    checked_name,
)
from fedpriv.imagediff.store import NoReference, Outdated, ReferenceStore, StoreFull
from fedpriv.services.metrics import ServiceMetrics
from fedpriv.services.service import OCTETS, OCTETS_BODY, new_service, refusals, takes_octets, telling
from fedpriv.services.settings import HttpLimits, ServiceSettings

_REFUSED: dict[type[UserError], tuple[int, str]] = {
    UnknownKey: (404, "unknown_key"),
    NotServed: (403, "not_served"),
    NoReference: (404, "unknown_reference"),
    Outdated: (409, "outdated"),
    StoreFull: (503, "store_full"),
}


def default_limits() -> HttpLimits:
    """Return bounds that fit the protocol's requests: two parts of 64 seeded ciphertexts."""
    return HttpLimits(max_body_bytes=16 << 20, max_waiting_bytes=256 << 20, max_requests=256, body_s=60.0)


class KeyTaken(BaseModel):
    """A public key that is known now."""

    key: str


class PartKept(BaseModel):
    """A part that is kept; whether it was the last one of its reference."""

    complete: bool


class Reference(BaseModel):
    """What is kept under a name; see :class:`~fedpriv.imagediff.protocol.ReferenceHead`."""

    name: str
    made: int
    part: int
    parts: int
    rows: int
    columns: int
    channels: int


class Deleted(BaseModel):
    """A reference that is gone."""

    deleted: str


@dataclass(frozen=True)
class DifferenceSettings(ServiceSettings):
    """The server of differences.

    Attributes:
        store: folder of the references.
        most_bytes: of all references together.
        most_keys: public keys in memory; those not used for longest go, and their owners send them again.
        only: files of the public keys that are served; anybody's without.
    """

    service: str = "imagediff"
    http: HttpLimits = field(default_factory=default_limits)
    store: Path = Path("outputs/imagediff/store")
    wait_s: float = 0.0
    most_bytes: int = 16 << 30
    most_keys: int = 64
    only: tuple[str, ...] = ()


def build_service(settings: DifferenceSettings) -> FastAPI:
    """Return the application.

    Raises:
        UserError: store or keys cannot be used.
    """
    store = ReferenceStore(settings.store, settings.most_bytes, settings.wait_s)
    server = DifferenceServer(store, settings.most_keys, map(Path, settings.only))
    metrics = ServiceMetrics((*PATHS, "/healthz", "/metrics"))

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        store.close()

    app = new_service("imagediff", settings, metrics, lifespan)

    async def answered(work: Callable[..., Any], request: Request, *named: str) -> Any:
        """Do work in another thread."""
        with telling(metrics, _REFUSED):
            names = (checked_name(each) for each in named)
            return await run_in_threadpool(work, *names, await request.body())

    documented: dict[str, Any] = {
        "responses": refusals(403, 404, 409, 422),
        "openapi_extra": OCTETS_BODY,
        "tags": ["owner"],
    }

    @app.post(KEYS, response_model=KeyTaken, **documented)
    async def add_key(request: Request) -> JSONResponse:
        """Take a public key; ciphertexts under it are then understood."""
        return JSONResponse({"key": await answered(server.add_key, request)})

    @takes_octets(app, DIFFERENCES, "Differences, as a cipher set", 404, 422, tag="owner")
    async def differences(request: Request, key: str) -> Response:
        """Subtract pairs of ciphertexts."""
        return Response(await answered(server.difference, request, key), media_type=OCTETS)

    @app.post(REFERENCES, response_model=PartKept, **documented)
    async def add_reference(request: Request, key: str, name: str) -> JSONResponse:
        """Keep one part of an encrypted reference."""
        return JSONResponse({"complete": await answered(server.add_reference, request, key, name)})

    @app.get(REFERENCES, response_model=Reference, responses=refusals(404, 422), tags=["owner"])
    async def reference(request: Request, key: str, name: str) -> JSONResponse:
        """Tell what the owner said of a reference: its size, and when it was made."""
        found = await answered(lambda key, name, _: server.reference(key, name), request, key, name)
        return JSONResponse(vars(found))

    @takes_octets(app, CHANGES, "Differences, as a cipher set", 404, 422, tag="owner")
    async def changes(request: Request, key: str, name: str) -> Response:
        """Subtract a reference from ciphertexts."""
        return Response(await answered(server.changes, request, key, name), media_type=OCTETS)

    @app.post(FORGET, response_model=Deleted, **documented)
    async def forget(request: Request, key: str, name: str) -> JSONResponse:
        """Delete a reference."""
        await answered(server.forget, request, key, name)
        return JSONResponse({"deleted": name})

    return app
