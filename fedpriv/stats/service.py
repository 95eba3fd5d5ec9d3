"""The server: keeps encrypted tables and adds them up, under a key that it cannot open."""

import functools
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO, Literal

from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from fedpriv.errors import UserError
from fedpriv.he.tables.computing import MOST_TABLES, bytes_of_result, write_sums
from fedpriv.he.tables.models import TableModel
from fedpriv.he.tables.scoring import write_scores
from fedpriv.he.users.public_keys import PublicKeys
from fedpriv.services.held_folder import HeldFolder
from fedpriv.services.metrics import ServiceMetrics
from fedpriv.services.service import OCTETS, OCTETS_BODY, gives_octets, new_service, refusals, telling
from fedpriv.services.settings import HttpLimits, ServiceSettings
from fedpriv.stats.jobs import Jobs, fault
from fedpriv.stats.protocol import PART_BYTES, RESULTS, TABLES, UPLOADS
from fedpriv.stats.room import StoreFull
from fedpriv.stats.store import NotThere, OutOfPlace, TableStore

_REFUSED: dict[type[UserError], tuple[int, str]] = {
    NotThere: (404, "not_there"),
    OutOfPlace: (409, "out_of_place"),
    StoreFull: (503, "busy"),
}
_LARGEST = 1e30
_PART = 1 << 20


def default_limits() -> HttpLimits:
    """Return bounds that fit parts of tables."""
    return HttpLimits(
        max_body_bytes=PART_BYTES, max_waiting_bytes=32 * PART_BYTES, max_requests=256, body_s=60.0
    )


@dataclass(frozen=True)
class StatsSettings(ServiceSettings):
    """The server of statistics.

    Attributes:
        key: public key that tables must be under.
        folder: of tables and results, the server's own.
        most_bytes: of all of them together.
        workers: processes that compute.
    """

    service: str = "stats"
    http: HttpLimits = field(default_factory=default_limits)
    key: Path = Path("keys-table/public.key")
    folder: Path = Path("outputs/stats")
    most_bytes: int = 64 << 30
    workers: int = 1


class Model(BaseModel):
    """A linear or logistic model."""

    model_config = ConfigDict(extra="forbid")
    kind: Literal["linear", "logistic"]
    intercept: FiniteFloat = Field(ge=-_LARGEST, le=_LARGEST)
    coefficients: dict[str, FiniteFloat] = Field(min_length=1, max_length=512)
    impute: dict[str, FiniteFloat] = Field(default={}, max_length=512)


class Wanted(BaseModel):
    """A result: sums over the rows of all tables, or, with a model, a score of each row."""

    model_config = ConfigDict(extra="forbid")
    tables: list[str] = Field(min_length=1, max_length=MOST_TABLES)
    pairs: bool = True
    model: Model | None = None


class Upload(BaseModel):
    """Of an upload: its number, and how much of it is there."""

    upload: str
    received: int


class Kept(BaseModel):
    """A table that is kept: its number, and its identity."""

    table: str
    identity: str


class Result(BaseModel):
    """A result that is being computed."""

    result: str


def build_service(settings: StatsSettings) -> FastAPI:
    """Return the application; it holds its folder until it has ended.

    Raises:
        UserError: key or folder cannot be used, or another process has the folder.
    """
    keys = PublicKeys.load(settings.key, "table")
    held = HeldFolder(settings.folder, "stats", "--folder")
    store = TableStore(settings.folder, keys, settings.most_bytes)
    jobs = Jobs(store.results, store.room)
    metrics = ServiceMetrics((UPLOADS, TABLES, RESULTS, "/healthz", "/metrics"))

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        jobs.close()
        held.close()

    app = new_service("stats", settings, metrics, lifespan)

    async def done(work: Callable[..., Any], *given: Any) -> Any:
        """Do work in another thread."""
        with telling(metrics, _REFUSED, lambda error: fault(error, settings.folder)):
            return await run_in_threadpool(work, *given)

    @app.post(UPLOADS, response_model=Upload, responses=refusals(), tags=["owner"])
    async def begin() -> Response:
        """Begin to upload a table."""
        return JSONResponse({"upload": await done(store.begin), "received": 0})

    @app.put(
        UPLOADS + "/{upload}",
        response_model=Upload,
        responses=refusals(404, 409, 422),
        openapi_extra=OCTETS_BODY,
        tags=["owner"],
    )
    async def append(request: Request, upload: str, offset: int) -> Response:
        """Append the next part of a table."""
        received = await done(store.append, upload, offset, await request.body())
        return JSONResponse({"upload": upload, "received": received})

    @app.post(UPLOADS + "/{upload}/finish", response_model=Kept, responses=refusals(404, 422), tags=["owner"])
    async def finish(upload: str) -> Response:
        """Check a table that is whole, and keep it."""
        return JSONResponse({"table": upload, "identity": await done(store.finish, upload)})

    @app.delete(TABLES + "/{table}", response_model=Kept, responses=refusals(404, 422), tags=["owner"])
    async def delete(table: str) -> Response:
        """Delete a table."""
        await done(store.delete, table)
        return JSONResponse({"table": table, "identity": ""})

    @app.post(RESULTS, status_code=202, response_model=Result, responses=refusals(404, 422), tags=["analyst"])
    async def compute(wanted: Wanted) -> Response:
        """Ask for a result."""

        def start() -> str:
            tables = [store.table(each) for each in wanted.tables]
            size = bytes_of_result(tables, keys, wanted.pairs, wanted.model is not None)
            if wanted.model is None:
                work = functools.partial(
                    write_sums, tables=tables, keys=keys, pairs=wanted.pairs, workers=settings.workers
                )
            else:
                work = functools.partial(write_scores, tables=tables, keys=keys, model=_model(wanted.model))
            return jobs.add(work, size)

        return JSONResponse({"result": await done(start)}, 202)

    @app.get(
        RESULTS + "/{result}",
        response_class=Response,
        responses={
            202: {"description": "It is being computed", "model": Result},
            **gives_octets("A result, as a cipher set"),
            **refusals(404, 422),
        },
        tags=["analyst"],
    )
    async def fetch(result: str) -> Response:
        """Return a result when it is there."""
        file: BinaryIO | None = await done(jobs.result, result)
        if file is None:
            return JSONResponse({"result": result}, 202)
        size = os.fstat(file.fileno()).st_size
        return StreamingResponse(_parts(file), headers={"content-length": str(size)}, media_type=OCTETS)

    @app.delete(RESULTS + "/{result}", response_model=Result, responses=refusals(404, 422), tags=["analyst"])
    async def forget(result: str) -> Response:
        """Delete a result."""
        await done(jobs.delete, result)
        return JSONResponse({"result": result})

    return app


def _parts(file: BinaryIO) -> Iterator[bytes]:
    with file:
        while part := file.read(_PART):
            yield part


def _model(model: Model) -> TableModel:
    exact = (
        {name: Fraction(each) for name, each in part.items()} for part in (model.coefficients, model.impute)
    )
    return TableModel(model.kind, Fraction(model.intercept), *exact)
