"""The server: keeps an encrypted gallery, compares probes with it, and can read neither.

A gallery that was begun as a plain one it can read: then probes alone are encrypted, and have to be.

It is given ``public.key`` and never holds a secret key. Its own signing key only proves who computed a
ticket.
"""

import asyncio
import contextlib
import io
import secrets
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request, Response
from fastapi import Path as PathParameter
from fastapi.responses import FileResponse

from fedpriv.errors import FormatError, UserError
from fedpriv.faces.bodies import About, Enrolled, Free, FreePlace, Leaving, Stale
from fedpriv.faces.entrance import path_of, received, senders
from fedpriv.faces.probes import plain_probe
from fedpriv.faces.signing import Gatekeeper, request_name
from fedpriv.faces.tickets import Ticket
from fedpriv.he.identity import SigningKey
from fedpriv.he.matching.gallery import Gallery
from fedpriv.he.matching.matcher import Matcher
from fedpriv.he.matching.members import TEMPLATES
from fedpriv.he.matching.people import read_probe
from fedpriv.services.logs import event
from fedpriv.services.metrics import ServiceMetrics
from fedpriv.services.service import (
    BINARY,
    OCTETS,
    OCTETS_BODY,
    Refused,
    gives_octets,
    new_service,
    now_ms,
    refusals,
)
from fedpriv.services.settings import HttpLimits, ServiceSettings

SERVER_KEY = "server.key"
LIMITS = HttpLimits(
    max_body_bytes=384 << 20,
    max_waiting_bytes=1 << 30,
    max_requests=64,
    max_connections=256,
    body_s=300.0,
    shutdown_s=30.0,
)
"""A probe of 128 dimensions has 31 MB, an enrolment 16 MB for each 128 dimensions; in clear 4 MB at most."""

_JSON = "application/json"
_PROBE_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            OCTETS: BINARY,
            _JSON: {
                "schema": {
                    "type": "object",
                    "required": ["probe"],
                    "properties": {"probe": {"type": "array", "items": {"type": "number"}}},
                }
            },
        },
    }
}
_TICKET = "A ticket for the key holder: the result, encrypted, with this server's signature"
_PATHS = ("/v1/about", "/v1/people", "/v1/verify", "/v1/identify", "/v1/scores", "/healthz", "/metrics")

Threshold = Annotated[float, Query(ge=-1.0, le=1.0, description="cosine from which a face is accepted")]
PersonId = Annotated[str, PathParameter(pattern=r"^[A-Za-z0-9_-]{12}$", description="random, of a person")]


@dataclass(frozen=True)
class ServerSettings(ServiceSettings):
    """The server's.

    Attributes:
        folder: of the gallery.
        workers: processes that compute.
    """

    http: HttpLimits = LIMITS
    service: str = "faces server"
    folder: Path = Path("gallery")
    workers: int = 1


def server_key(folder: Path) -> SigningKey:
    """Return the server's signing key, made on first use."""
    path = folder / SERVER_KEY
    if not path.exists():
        SigningKey.generate().save(path)
    return SigningKey.load(path)


def build_server(settings: ServerSettings) -> FastAPI:
    """Return the application.

    Raises:
        UserError: when the folder holds no gallery, or a damaged one.
    """
    gallery, signer = Gallery.open(settings.folder), server_key(settings.folder)
    gatekeeper = Gatekeeper(gallery.keys.verify_key, settings.http.body_s)
    metrics = ServiceMetrics(_PATHS)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        metrics.watch(lambda: {"people": len(gallery.ids()), "blocks": gallery.blocks})
        event(
            "started",
            people=len(gallery.ids()),
            key=gallery.keys.fingerprint[:16],
            gallery=TEMPLATES[gallery.plain],
        )
        yield
        event("stopped")

    matcher = Matcher(gallery, workers=settings.workers)
    app = new_service("faces server", settings, metrics, _closing(matcher, lifespan), senders(gatekeeper))
    writing = asyncio.Lock()

    async def owner(request: Request) -> bytes:
        return (await received(request, gatekeeper.owner))[1]

    @app.get("/v1/about", response_model=About, responses=refusals(), tags=["everybody"])
    async def about() -> About:
        """Say what this gallery is."""
        return About(
            fingerprint=gallery.keys.fingerprint,
            parameters=gallery.keys.set.name,
            dimension=gallery.dim,
            people=len(gallery.ids()),
            blocks=gallery.blocks,
            server_key=signer.public.hex(),
            gallery=TEMPLATES[gallery.plain],
        )

    @app.get("/v1/free", response_model=Free, responses=refusals(401, 422), tags=["owner"])
    async def free(request: Request, count: Annotated[int, Query(ge=1, le=100_000)]) -> Free:
        """Say where the owner is to put the next people."""
        await owner(request)
        places = await _asked(gallery.free, count)
        return Free(places=[FreePlace(block=each.block, slots=list(each.slots)) for each in places])

    @app.post(
        "/v1/people",
        response_model=Enrolled,
        responses=refusals(401, 409),
        openapi_extra=OCTETS_BODY,
        tags=["owner"],
    )
    async def enrol(request: Request) -> Enrolled:
        """Take an enrolment in: a signed cipher set, a ciphertext for each dimension; or one in clear."""
        path = await asyncio.to_thread(_received, gallery, await owner(request))
        try:
            async with writing:
                ids = await _asked(gallery.add, path)
        finally:
            path.unlink(missing_ok=True)
        metrics.outcome("enrolled")
        event("enrolled", people=len(ids))
        return Enrolled(ids=ids)

    @app.delete("/v1/people", response_model=Stale, responses=refusals(401, 422), tags=["owner"])
    async def delete_all(request: Request, leaving: Leaving) -> Stale:
        """Delete people, as one by one; of those who are not there it says nothing."""
        await owner(request)
        async with writing:
            there = set(gallery.ids())
            await _asked(gallery.delete, [each for each in dict.fromkeys(leaving.ids) if each in there])
        event("deleted", people=len(leaving.ids))
        return Stale(segments={name: gallery.people_in(name) for name in gallery.stale()})

    @app.delete("/v1/people/{person}", response_model=Stale, responses=refusals(401, 404), tags=["owner"])
    async def delete(request: Request, person: PersonId) -> Stale:
        """Delete a person: never compared with again; say which segments to encrypt anew.

        Of somebody who is not there it says the same: an owner who was interrupted asks again.
        """
        await owner(request)
        async with writing:
            if person in gallery.ids():
                await _asked(gallery.delete, [person], status=404)
        metrics.outcome("deleted")
        event("deleted", person=person)
        return Stale(segments={name: gallery.people_in(name) for name in gallery.stale()})

    @app.get(
        "/v1/segments/{name}",
        response_class=Response,
        responses={**gives_octets("The segment's file"), **refusals(401, 404)},
        tags=["owner"],
    )
    async def segment(request: Request, name: str) -> Response:
        """Return a segment, for its owner to encrypt anew."""
        await owner(request)
        return FileResponse(await _asked(gallery.segment, name, status=404), media_type=OCTETS)

    @app.put(
        "/v1/segments/{name}",
        response_model=Stale,
        responses=refusals(401, 404, 409),
        openapi_extra=OCTETS_BODY,
        tags=["owner"],
    )
    async def replace(request: Request, name: str) -> Stale:
        """Take an enrolment instead of a segment: the same people, or fewer."""
        path = await asyncio.to_thread(_received, gallery, await owner(request))
        try:
            async with writing:
                await _asked(gallery.replace, [name], path)
        finally:
            path.unlink(missing_ok=True)
        event("replaced")
        return Stale(segments={each: gallery.people_in(each) for each in gallery.stale()})

    async def answered(request: Request, kind: str, person: str, threshold: float) -> Response:
        number, body = await received(request, gatekeeper.caller)
        plain = request.headers.get("content-type", "").partition(";")[0].strip() == _JSON

        def compute() -> bytes:
            probe: Any = (
                plain_probe(body, gallery.dim)
                if plain
                else read_probe(io.BytesIO(body), gallery.keys, gallery.dim, "probe")
            )
            if kind == "verify":
                question = matcher.verify(probe, person, threshold)
            elif kind == "identify":
                question = matcher.identify(probe, threshold)
            else:
                question = matcher.scores(probe)
            asked = request_name(request.method, path_of(request), body)
            ticket = Ticket(kind, number, person, threshold, now_ms(), asked)
            return ticket.seal(question.to_bytes(), signer)

        found: bytes = await _asked(compute, status=404 if kind == "verify" else 409)
        metrics.outcome(kind)
        event("compared", kind=kind, caller=number, encrypted=not plain)
        return Response(found, media_type=OCTETS)

    answers = {**gives_octets(_TICKET), **refusals(401, 404, 409, 422)}
    options: dict[str, Any] = {
        "response_class": Response,
        "responses": answers,
        "openapi_extra": _PROBE_BODY,
        "tags": ["callers"],
    }

    @app.post("/v1/verify/{person}", **options)
    async def verify(request: Request, person: PersonId, threshold: Threshold) -> Response:
        """Compare a probe with one person."""
        return await answered(request, "verify", person, threshold)

    @app.post("/v1/identify", **options)
    async def identify(request: Request, threshold: Threshold) -> Response:
        """Compare a probe with everybody; the best match is to be told, and no score."""
        return await answered(request, "identify", "", threshold)

    @app.post("/v1/scores", **options)
    async def scores(request: Request) -> Response:
        """Compare a probe with everybody; scores are to be told, which key holders refuse as a rule."""
        return await answered(request, "scores", "", -1.0)

    return app


def _closing(
    matcher: Matcher, lifespan: Callable[[FastAPI], Any]
) -> Callable[[FastAPI], contextlib.AbstractAsyncContextManager[None]]:
    @contextlib.asynccontextmanager
    async def both(app: FastAPI) -> AsyncIterator[None]:
        with matcher:
            async with lifespan(app):
                yield

    return both


async def _asked(function: Callable[..., Any], *arguments: Any, status: int = 409) -> Any:
    """Run what may take long in a thread, and refuse what it refuses."""
    try:
        return await asyncio.to_thread(function, *arguments)
    except FormatError as error:
        raise Refused(400, "malformed", str(error)) from error
    except UserError as error:
        raise Refused(status, "refused", str(error)) from error


def _received(gallery: Gallery, body: bytes) -> Path:
    path: Path = gallery.inbox / f"{secrets.token_hex(8)}.ciphers"
    path.touch(0o600)
    path.write_bytes(body)
    return path
