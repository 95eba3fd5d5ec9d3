"""The adversary in a relay's place: passes everything on, keeps a copy, and replays it when told to."""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Body, FastAPI, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from fedpriv.errors import UserError
from fedpriv.relays import mac
from fedpriv.relays.courier import Courier, NotDelivered
from fedpriv.relays.frames import ReplyStream
from fedpriv.relays.passing import pass_handshake
from fedpriv.relays.service import FRAMES, HANDSHAKE, SESSIONS, SHARES, FrameResponse, carrying_service
from fedpriv.relays.settings import MAKE_KEYS, AdversarySettings
from fedpriv.services.logs import event
from fedpriv.services.metrics import ServiceMetrics
from fedpriv.services.outgoing import connections
from fedpriv.services.secret_files import read_secret
from fedpriv.services.service import OCTETS, Refused, gives_octets, now_ms, refusals, takes_octets
from fedpriv.sharing.answer import Record, pack_records, unpack_records
from fedpriv.sharing.causes import Cause, SharingError
from fedpriv.sharing.envelope import cut_batch, read_header

_MOST_REPLAYED = 4096
_BUSY = pack_records([Record(Cause.BUSY, None)])
CAPTURED, REPLAY = "/v1/captured", "/v1/replay"


class Piece(BaseModel):
    """What the clear header of a captured envelope tells."""

    index: int
    session: str
    image: str
    share: int
    bytes: int


class Captured(BaseModel):
    """All that was captured."""

    count: int
    bytes: int
    envelopes: list[Piece]


class Replay(BaseModel):
    """Which envelopes to replay: all without indices."""

    indices: list[Annotated[int, Field(ge=0, lt=1 << 31)]] | None = Field(None, max_length=_MOST_REPLAYED)


class Replayed(BaseModel):
    """What came of one replayed envelope; ``cause`` is null when it was answered afresh."""

    index: int
    cause: str | None


class _Loot:
    """Envelopes by index, bounded in bytes: the oldest go."""

    def __init__(self, most_bytes: int) -> None:
        self._most, self.bytes, self.first = most_bytes, 0, 0
        self._kept: deque[bytes] = deque()

    def add(self, envelope: bytes) -> None:
        self._kept.append(envelope)
        self.bytes += len(envelope)
        while self.bytes > self._most:
            self.bytes -= len(self._kept.popleft())
            self.first += 1

    def indices(self) -> range:
        return range(self.first, self.first + len(self._kept))

    def get(self, index: int) -> bytes:
        if index not in self.indices():
            raise Refused(404, "not_captured", f"envelope {index}: kept are {self.first} and what follows")
        return self._kept[index - self.first]

    def clear(self) -> None:
        self.first += len(self._kept)
        self._kept.clear()
        self.bytes = 0


def build_adversary(settings: AdversarySettings) -> FastAPI:
    """Return the application.

    With a relay's key it is that relay gone bad, and speaks to the model server itself; without one it sits
    between the clients and an honest relay.

    Raises:
        UserError: the key cannot be read, or there is no upstream.
    """
    if not settings.upstream:
        raise UserError("adversary: settings need upstream, the URL of the relay that it sits before")
    key = read_secret(settings.key_file, mac.KEY_BYTES, MAKE_KEYS) if settings.key_file is not None else None
    metrics = ServiceMetrics((SHARES, SESSIONS, CAPTURED, REPLAY, "/healthz", "/metrics"))
    loot = _Loot(settings.most_captured)

    def headers(path: str, body: bytes) -> dict[str, str]:
        return {} if key is None else mac.sign(settings.name, key, path, body, now_ms())

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with connections(settings.ca) as http:
            courier = Courier(http, settings.upstream + SHARES, headers=lambda body: headers(SHARES, body))
            app.state.http, app.state.courier = http, courier
            event("started", upstream=settings.upstream)
            yield
            await courier.close()
            event("stopped")

    app = carrying_service("adversary", settings, metrics, lifespan)

    @takes_octets(app, SHARES, FRAMES, tag="as a relay")
    async def capture_shares(request: Request) -> Response:
        """Pass shares on as the relay would, and keep them."""
        envelopes = cut_batch(await request.body())
        stream = ReplyStream(len(envelopes))
        for position, envelope in enumerate(envelopes):
            loot.add(envelope)

            def take(record: bytes | NotDelivered, position: int = position) -> None:
                stream.put(position, _BUSY if isinstance(record, NotDelivered) else record)

            request.app.state.courier.submit(envelope, take)
        return FrameResponse(stream, len(envelopes))

    @takes_octets(app, SESSIONS, HANDSHAKE, 401, 403, 409, tag="as a relay")
    async def pass_session(request: Request) -> Response:
        """Pass a handshake on."""
        body = await request.body()
        http = request.app.state.http
        return await pass_handshake(http, settings.upstream, body, headers(SESSIONS, body), "what is behind")

    @app.get(CAPTURED, response_model=Captured, responses=refusals(), tags=["adversary"])
    async def captured() -> Response:
        """Tell what was captured: all that clear headers say."""
        pieces = [_piece(index, loot.get(index)) for index in loot.indices()]
        return JSONResponse({"count": len(pieces), "bytes": loot.bytes, "envelopes": pieces})

    @app.get(
        CAPTURED + "/{index}",
        response_class=Response,
        responses={**gives_octets("The envelope"), **refusals(404, 422)},
        tags=["adversary"],
    )
    async def one_captured(index: int) -> Response:
        """Return a captured envelope."""
        return Response(loot.get(index), media_type=OCTETS)

    @app.delete(CAPTURED, status_code=204, responses=refusals(), tags=["adversary"])
    async def forget() -> Response:
        """Forget what was captured."""
        loot.clear()
        return Response(status_code=204)

    @app.post(REPLAY, response_model=list[Replayed], responses=refusals(404, 422), tags=["adversary"])
    async def replay(request: Request, which: Annotated[Replay, Body()]) -> Response:
        """Send captured envelopes again, as they are."""
        indices = loot.indices()[:_MOST_REPLAYED] if which.indices is None else which.indices
        envelopes = [(index, loot.get(index)) for index in indices]
        courier: Courier = request.app.state.courier
        records = await asyncio.gather(*(courier.ask(envelope) for _, envelope in envelopes))
        found = [
            {"index": index, "cause": _cause(record)}
            for (index, _), record in zip(envelopes, records, strict=True)
        ]
        return JSONResponse(found)

    return app


def _cause(record: bytes | NotDelivered) -> str | None:
    if isinstance(record, NotDelivered):
        return f"http_{record.status}"
    cause = unpack_records(record, 1)[0].cause
    return None if cause is None else cause.label


def _piece(index: int, envelope: bytes) -> dict[str, object]:
    try:
        header = read_header(envelope)
        session, image, share = header.session.hex(), header.image.hex(), header.share
    except SharingError:
        session, image, share = "", "", -1
    return {"index": index, "session": session, "image": image, "share": share, "bytes": len(envelope)}
