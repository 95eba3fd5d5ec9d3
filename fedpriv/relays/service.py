"""What the services that carry shares have besides: paths, causes of sharing as refusals, streamed frames."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.types import Message, Receive, Scope, Send

from fedpriv.relays.frames import ReplyStream
from fedpriv.services.metrics import ServiceMetrics
from fedpriv.services.service import OCTETS, new_service
from fedpriv.services.settings import ServiceSettings
from fedpriv.sharing.answer import RECORD_BYTES
from fedpriv.sharing.causes import Cause, SharingError

SHARES, SESSIONS, IMAGES = "/v1/shares", "/v1/sessions", "/v1/images"
FRAMES = "One frame per envelope, as it becomes ready"
HANDSHAKE = "The second message of the handshake"
_STATUSES: dict[Cause, int] = {
    Cause.MALFORMED: 400,
    Cause.WRONG_SIZE: 400,
    Cause.WRONG_VERSION: 400,
    Cause.NOT_OFFERED: 400,
    Cause.REPLAYED_HANDSHAKE: 409,
    Cause.BUSY: 503,
}


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


def carrying_service(
    title: str,
    settings: ServiceSettings,
    metrics: ServiceMetrics,
    lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]],
) -> FastAPI:
    """Return an application of :func:`new_service` that refuses by the causes of sharing, too."""
    app = new_service(title, settings, metrics, lifespan)

    async def not_shared(_: Request, error: Exception) -> Response:
        assert isinstance(error, SharingError)  # noqa: S101 - registered for it alone
        detail = str(error).removeprefix(f"{error.cause.label}: ")
        return JSONResponse({"cause": error.cause.label, "detail": detail}, _STATUSES.get(error.cause, 403))

    app.add_exception_handler(SharingError, not_shared)
    return app
