"""The gateway: a headset's own service. A picture in, asked about through the relays, the answer out."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from fedpriv.errors import UserError
from fedpriv.relays.attempt import UNREACHABLE
from fedpriv.relays.client import RelayClient, Unanswered
from fedpriv.relays.service import IMAGES, carrying_service
from fedpriv.relays.settings import ClientSettings, GatewaySettings
from fedpriv.services.logs import event
from fedpriv.services.metrics import ServiceMetrics
from fedpriv.services.service import Refused, refusals
from fedpriv.serving.answers import KINDS, as_dict
from fedpriv.serving.image import GreyImage, read_image, within
from fedpriv.sharing.causes import Cause
from fedpriv.sharing.payload import HEADER_BYTES

_DECODERS = 2
_CAUSES = frozenset({UNREACHABLE, *(cause.label for cause in Cause)})
_PICTURES = ("image/png", "image/jpeg", "image/bmp", "image/webp", "image/x-portable-graymap")


class GazeAnswer(BaseModel):
    """Where the eye looks, radians; the model's digest."""

    pitch: float
    yaw: float
    model: str


class EmotionAnswer(BaseModel):
    """Which expression the picture shows; the model's digest."""

    label: str
    probabilities: list[float]
    model: str


class Answers(BaseModel):
    """What was asked for."""

    gaze: GazeAnswer | None = None
    emotion: EmotionAnswer | None = None


class Answered(BaseModel):
    """The answer to a picture."""

    answer: Answers
    milliseconds: float
    attempts: int
    relays: list[str]


def build_gateway(settings: GatewaySettings) -> FastAPI:
    """Return the application.

    Raises:
        UserError: the client's settings or its secret cannot be read.
    """
    client_settings = ClientSettings.read(settings.client)
    RelayClient(client_settings)  # a mistake in the settings shows now, not when the service runs
    metrics = ServiceMetrics((IMAGES, "/healthz", "/metrics"))

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with RelayClient(client_settings) as client:
            # a picture of a few kilobytes can decode to 50 million pixels: few at a time
            app.state.client, app.state.decoders = client, asyncio.Semaphore(_DECODERS)
            event("started", scheme=str(client_settings.scheme))
            yield
        event("stopped")

    app = carrying_service("gateway", settings, metrics, lifespan)

    @app.post(
        IMAGES,
        response_model=Answered,
        responses=refusals(415, 422, 500, 504),
        openapi_extra={
            "requestBody": {
                "required": True,
                "content": {kind: {"schema": {"type": "string", "format": "binary"}} for kind in _PICTURES},
            }
        },
        tags=["headset"],
    )
    async def ask(
        request: Request,
        models: Annotated[
            str, Query(description=f"what to ask for, comma-separated: {', '.join(KINDS)}", max_length=64)
        ] = ",".join(KINDS),
    ) -> Response:
        """Ask about one picture: PNG, JPEG, BMP, WebP or PGM."""
        wanted = tuple(dict.fromkeys(models.split(",")))
        if unknown := [each for each in wanted if each not in KINDS]:
            raise Refused(422, "models", f"models={unknown[0]!r}: ask for {', '.join(KINDS)}")
        client: RelayClient = request.app.state.client
        try:
            session = await client.session()
        except UserError as error:
            metrics.outcome("settings")
            event("settings", logging.ERROR, detail=str(error))
            raise Refused(500, "settings", str(error)) from error
        except Unanswered as error:
            raise _unanswered(error) from error
        try:
            async with request.app.state.decoders:
                most = session.terms.payload_bytes - HEADER_BYTES
                image = await asyncio.to_thread(_small, await request.body(), most)
            asked = await client.ask(image, wanted)
        except UserError as error:
            metrics.outcome("refused")
            raise Refused(415, "picture", str(error)) from error
        except Unanswered as error:
            raise _unanswered(error) from error
        metrics.outcome("answered")
        return JSONResponse(_content(asked.seconds, asked.attempts, asked.relays, as_dict(asked.answer)))

    def _unanswered(error: Unanswered) -> Refused:
        # relays are not trusted: what one of them calls its refusal is no name of a series
        cause = error.cause if error.cause in _CAUSES else "other"
        metrics.outcome(cause)
        event("unanswered", cause=cause)
        return Refused(504, cause, str(error).removeprefix(f"{error.cause}: "))

    return app


def _small(body: bytes, most_pixels: int) -> GreyImage:
    """Decode a picture and shrink it: what is large of it goes before the next one is decoded."""
    return within(read_image(body, "picture"), most_pixels)


def _content(
    seconds: float, attempts: int, relays: tuple[str, ...], answer: dict[str, Any]
) -> dict[str, Any]:
    return {
        "answer": answer,
        "milliseconds": round(1000 * seconds, 3),
        "attempts": attempts,
        "relays": list(relays),
    }
