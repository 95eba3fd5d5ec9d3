"""A relay: passes sealed shares on, signed as its own, and answers back. It can open neither."""

import contextlib
from collections import Counter
from collections.abc import AsyncIterator

from fastapi import FastAPI, Request, Response

from fedpriv.errors import UserError
from fedpriv.relays import mac
from fedpriv.relays.courier import Courier, NotDelivered
from fedpriv.relays.frames import ReplyStream
from fedpriv.relays.passing import pass_handshake
from fedpriv.relays.service import FRAMES, HANDSHAKE, SESSIONS, SHARES, FrameResponse, carrying_service
from fedpriv.relays.settings import MAKE_KEYS, RelaySettings
from fedpriv.services.logs import event
from fedpriv.services.metrics import ServiceMetrics
from fedpriv.services.outgoing import connections
from fedpriv.services.secret_files import read_secret
from fedpriv.services.service import Refused, now_ms, takes_octets
from fedpriv.sharing.admission import MAX_FIRST_BYTES
from fedpriv.sharing.answer import Record, pack_records
from fedpriv.sharing.causes import Cause
from fedpriv.sharing.envelope import cut_batch

MOST_WAITING = 16384
MOST_WAITING_OF_SESSION = 2048
_SESSION = slice(8, 24)
_REFUSALS = {cause: pack_records([Record(cause, None)]) for cause in Cause}
_OUTCOMES = ("answered", *(cause.label for cause in Cause))


class _Forwarder:
    """Hands envelopes to the courier, bounded in all and per session so that one cannot shut out others."""

    def __init__(self, courier: Courier, metrics: ServiceMetrics) -> None:
        self._courier, self._metrics = courier, metrics
        self._sessions: Counter[bytes] = Counter()
        self.waiting = 0

    def submit(self, envelope: bytes, stream: ReplyStream, position: int) -> None:
        session = envelope[_SESSION]
        if self.waiting >= MOST_WAITING or self._sessions[session] >= MOST_WAITING_OF_SESSION:
            self._metrics.outcome(Cause.BUSY.label)
            stream.put(position, _REFUSALS[Cause.BUSY])
            return
        self.waiting += 1
        self._sessions[session] += 1

        def take(record: bytes | NotDelivered) -> None:
            self.waiting -= 1
            self._sessions[session] -= 1
            if not self._sessions[session]:
                del self._sessions[session]
            if isinstance(record, NotDelivered):
                event("not delivered", status=record.status, reason=record.detail)
                # 401: the model server does not know this relay; else it is down or full, and may be back
                cause = Cause.WRONG_RELAY if record.status == 401 else Cause.BUSY
                record = _REFUSALS[cause]
            self._metrics.outcome(_OUTCOMES[record[0]] if record[0] < len(_OUTCOMES) else "unknown")
            stream.put(position, record)

        self._courier.submit(envelope, take)


def build_relay(settings: RelaySettings) -> FastAPI:
    """Return the application.

    Raises:
        UserError: the key or a certificate cannot be read, or the settings lack something.
    """
    if not settings.name or not settings.model_server:
        raise UserError("relay: settings need name and model_server, e.g. a and https://model:8443")
    key = read_secret(settings.key_file, mac.KEY_BYTES, MAKE_KEYS)
    metrics = ServiceMetrics((SHARES, SESSIONS, "/healthz", "/metrics"))

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with connections(settings.ca) as http:
            courier = Courier(
                http,
                settings.model_server + SHARES,
                headers=lambda body: mac.sign(settings.name, key, SHARES, body, now_ms()),
                most_requests=settings.upstream_requests,
            )
            forwarder = _Forwarder(courier, metrics)
            app.state.http, app.state.forwarder = http, forwarder
            metrics.watch(lambda: {"waiting_envelopes": forwarder.waiting})
            event("started", relay=settings.name)
            yield
            await courier.close()
            event("stopped")

    app = carrying_service(f"relay {settings.name}", settings, metrics, lifespan)

    @takes_octets(app, SHARES, FRAMES, tag="clients")
    async def pass_shares(request: Request) -> Response:
        """Pass sealed shares on, at most 64 back to back; answer each in a frame as soon as it is ready."""
        envelopes = cut_batch(await request.body())
        stream = ReplyStream(len(envelopes))
        for position, envelope in enumerate(envelopes):
            request.app.state.forwarder.submit(envelope, stream, position)
        return FrameResponse(stream, len(envelopes))

    @takes_octets(app, SESSIONS, HANDSHAKE, 403, 409, tag="clients")
    async def pass_session(request: Request) -> Response:
        """Pass the first message of a handshake on, and its answer back."""
        body = await request.body()
        if not 0 < len(body) <= MAX_FIRST_BYTES:
            raise Refused(
                400, Cause.WRONG_SIZE.label, f"first message of {len(body)} bytes, at most {MAX_FIRST_BYTES}"
            )
        headers = mac.sign(settings.name, key, SESSIONS, body, now_ms())
        http = request.app.state.http
        reply = await pass_handshake(http, settings.model_server, body, headers, "the model server")
        if reply.status_code == 401:
            raise Refused(503, Cause.WRONG_RELAY.label, "the model server does not know this relay")
        return reply

    return app
