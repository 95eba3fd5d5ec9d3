"""The model server: opens sessions, puts shares together, infers, seals answers. Speaks to relays only."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from fastapi import FastAPI, Request, Response

from fedpriv.errors import UserError
from fedpriv.relays import mac
from fedpriv.relays.frames import ReplyStream
from fedpriv.relays.intake import Intake
from fedpriv.relays.pinned import require_pinned
from fedpriv.relays.service import (
    FRAMES,
    HANDSHAKE,
    IMAGES,
    SESSIONS,
    SHARES,
    FrameResponse,
    carrying_service,
)
from fedpriv.relays.settings import MAKE_KEYS, ModelServerSettings
from fedpriv.services.logs import event
from fedpriv.services.metrics import ServiceMetrics
from fedpriv.services.secret_files import read_secret, read_secrets
from fedpriv.services.service import OCTETS, Refused, now_ms, takes_octets
from fedpriv.serving.answers import KINDS
from fedpriv.serving.batcher import Batcher
from fedpriv.serving.defaults import load_models
from fedpriv.sharing.admission import Admission, Offer
from fedpriv.sharing.assembler import Assembler
from fedpriv.sharing.causes import Cause, SharingError
from fedpriv.sharing.envelope import MAX_BATCH, cut_batch
from fedpriv.sharing.handshake import KEY_BYTES
from fedpriv.sharing.opening import KEY_ID_BYTES
from fedpriv.sharing.payload import unpack
from fedpriv.sharing.room import Limits

_TICK_S = 0.2
_MOST_WAITING = 16384


def build_model_server(settings: ModelServerSettings) -> FastAPI:
    """Return the application.

    Raises:
        UserError: a key, a secret or a model cannot be read, a registered model is another than the settings
            were made with, or they contradict each other.
    """
    if 2 * settings.payload_bytes > settings.http.max_body_bytes:
        raise UserError(
            f"model server: payload_bytes={settings.payload_bytes} needs http.max_body_bytes of twice as many"
        )
    keys = read_secrets(settings.relays_file, mac.KEY_BYTES, MAKE_KEYS)
    models = load_models(settings.models, settings.tracking_uri)
    require_pinned(models.models, settings.digests)
    offered = tuple(kind for kind in KINDS if kind in models.kinds)
    admission = _admission(settings, tuple(keys), offered)
    assembler = Assembler(_limits(settings))
    paths = (SHARES, SESSIONS, *([IMAGES] if settings.allow_plain else []), "/healthz", "/metrics")
    metrics = ServiceMetrics(paths)
    max_skew_ms = round(settings.max_skew_s * 1000)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        batcher = Batcher(models, settings.most_batch, settings.batch_wait_s, _MOST_WAITING)
        hold_ms = round(settings.hold_s * 1000)
        intake = Intake(assembler, batcher, offered, hold_ms, now_ms, metrics.outcome)
        app.state.intake = intake
        metrics.watch_totals("shares", "Shares and images by what became of them", lambda: assembler.counters)
        metrics.watch(
            lambda: {
                **assembler.gauges,
                "waiting_envelopes": intake.waiting,
                "waiting_images": batcher.waiting,
                "inferred_batches": batcher.batches,
                "inferred_images": batcher.images,
            },
        )
        ticking = asyncio.create_task(_tick(intake))
        event("started", models={kind: list(each) for kind, each in models.digests.items()})
        yield
        ticking.cancel()
        await asyncio.to_thread(batcher.close)
        event("stopped")

    app = carrying_service("model server", settings, metrics, lifespan)

    def relay_of(request: Request, path: str, body: bytes) -> str:
        name = mac.verify(request.headers, keys, path, body, now_ms(), max_skew_ms)
        if name is None:
            metrics.outcome("unknown_relay")
            raise Refused(401, Cause.WRONG_RELAY.label, "no enrolled relay forwarded this just now")
        return name

    @takes_octets(app, SESSIONS, HANDSHAKE, 401, 403, 409, tag="relays")
    async def open_session(request: Request) -> Response:
        """Open a session: the first message of the handshake in, the second out."""
        body = await request.body()
        relay = relay_of(request, SESSIONS, body)
        try:
            reply, session = admission.admit(body, now_ms())
            assembler.add(session, now_ms())
        except SharingError as error:
            metrics.outcome(error.cause.label)
            event("session refused", cause=error.cause.label, relay=relay)
            raise
        event("session opened", client=session.client.hex(), relay=relay)
        return Response(reply, media_type=OCTETS)

    @takes_octets(app, SHARES, FRAMES, 401, tag="relays")
    async def take_shares(request: Request) -> Response:
        """Take sealed shares, at most 64 back to back; answer each in a frame as soon as it is ready."""
        body = await request.body()
        relay = relay_of(request, SHARES, body)
        envelopes = cut_batch(body)
        stream = ReplyStream(len(envelopes))
        request.app.state.intake.accept(relay, envelopes, stream)
        return FrameResponse(stream, len(envelopes))

    if settings.allow_plain:

        @takes_octets(app, IMAGES, FRAMES, 422, tag="benchmark")
        async def take_images(request: Request) -> Response:
            """Answer images in clear, without any protection: what the relays are compared to."""
            body, size = await request.body(), settings.payload_bytes
            if not body or len(body) % size or len(body) > MAX_BATCH * size:
                raise Refused(400, "malformed", f"1 to {MAX_BATCH} payloads of {size} bytes, not {len(body)}")
            payloads = [unpack(body[start : start + size]) for start in range(0, len(body), size)]
            if any(payload.wanted[-1] >= len(offered) for payload in payloads):
                raise Refused(422, "malformed", f"models: {len(offered)} are offered")
            stream = ReplyStream(len(payloads))
            for position, payload in enumerate(payloads):
                request.app.state.intake.plain(payload, stream, position)
            return FrameResponse(stream, len(payloads))

    return app


async def _tick(intake: Intake) -> None:
    while True:
        await asyncio.sleep(_TICK_S)
        intake.tick()


def _admission(settings: ModelServerSettings, relays: tuple[str, ...], models: tuple[str, ...]) -> Admission:
    static = X25519PrivateKey.from_private_bytes(read_secret(settings.key_file, KEY_BYTES, MAKE_KEYS))
    clients = {}
    for key_id, secret in read_secrets(settings.clients_file, KEY_BYTES, MAKE_KEYS).items():
        try:
            known = bytes.fromhex(key_id)
        except ValueError:
            known = b""
        if len(known) != KEY_ID_BYTES:
            raise UserError(f"{settings.clients_file}: {key_id!r} is no key id of {2 * KEY_ID_BYTES} digits")
        clients[known] = secret
    try:
        offer = Offer(
            relays,
            models,
            payload_bytes=settings.payload_bytes,
            window=settings.window,
            lifetime_ms=round(settings.session_s * 1000),
        )
    except ValueError as error:
        raise UserError(f"model server: {error}") from error
    return Admission(static, clients, offer, max_skew_ms=round(settings.max_skew_s * 1000))


def _limits(settings: ModelServerSettings) -> Limits:
    return Limits(
        max_sessions=settings.max_sessions,
        max_client_sessions=settings.max_client_sessions,
        max_partial_bytes=settings.max_partial_bytes,
        max_client_bytes=settings.max_client_bytes,
        set_timeout_ms=round(settings.set_timeout_s * 1000),
        retention_ms=round(settings.retention_s * 1000),
    )
