"""The key holder's service: opens one ticket at a time, for callers that its owner admitted."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI, Request, Response

from fedpriv.errors import UserError
from fedpriv.faces.answers import SIGNATURE, sign_answer
from fedpriv.faces.bodies import BINARY, Known, Name, Opened, Policy
from fedpriv.faces.holding import KeyHolder, KeyHolderSettings
from fedpriv.faces.parties import Refusal
from fedpriv.faces.signing import Gatekeeper, Unsigned
from fedpriv.relays.logs import event
from fedpriv.relays.metrics import ServiceMetrics
from fedpriv.relays.service import OCTETS, Refused, new_service, now_ms, refusals
from fedpriv.relays.service import Refusal as RefusalBody

_STATUSES = {
    "unknown_person": 404,
    "not_admitted": 403,
    "opened_before": 409,
    "budget_spent": 429,
    "no_scores": 403,
    "other_threshold": 409,
    "too_old": 409,
    "not_yours": 403,
    "not_opened": 400,
}


def build_keyholder(settings: KeyHolderSettings) -> FastAPI:
    """Return the application.

    Raises:
        UserError: as :class:`KeyHolder`.
    """
    holder = KeyHolder(settings)
    gatekeeper = Gatekeeper(holder.keys.public.verify_key)
    metrics = ServiceMetrics(("/v1/about", "/v1/people", "/v1/open", "/healthz", "/metrics"))

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        event("started", key=holder.keys.fingerprint[:16], raw_scores=settings.raw_scores)
        yield
        event("stopped")

    app = new_service("faces key holder", settings, metrics, lifespan)

    async def caller(request: Request) -> tuple[str, bytes]:
        body = await request.body()
        try:
            return (
                gatekeeper.caller(request.headers, request.method, request.url.path, body, now_ms()),
                body,
            )
        except Unsigned as error:
            metrics.outcome("not_signed")
            raise Refused(401, "not_signed", str(error)) from error

    async def asked(number: str, function: Any, *arguments: Any) -> Any:
        try:
            return await asyncio.to_thread(function, *arguments)
        except Refusal as error:
            metrics.outcome(error.cause)
            event("refused", caller=number, cause=error.cause)
            raise Refused(_STATUSES.get(error.cause, 400), error.cause, str(error)) from error
        except UserError as error:
            event("failed", caller=number)
            raise Refused(503, "register", str(error)) from error

    @app.get("/v1/about", response_model=Policy, responses=refusals(), tags=["everybody"])
    async def about() -> Policy:
        """Say what is opened."""
        return holder.policy()

    @app.post("/v1/people", response_model=Known, responses=refusals(401, 403, 404, 422), tags=["callers"])
    async def people(request: Request, name: Name) -> Known:
        """Say under which id the server knows a person of this name."""
        number, _ = await caller(request)
        found: Known = await asked(number, holder.known, number, name.name)
        return found

    @app.post(
        "/v1/open",
        response_model=Opened,
        responses={
            **refusals(401, 403, 409),
            429: {"description": "The budget is spent", "model": RefusalBody},
        },
        openapi_extra={
            "requestBody": {
                "required": True,
                "content": {OCTETS: BINARY},
            }
        },
        tags=["callers"],
    )
    async def open_one(request: Request) -> Response:
        """Open a ticket; charged before it is looked into."""
        number, body = await caller(request)
        kind, opened = await asked(number, holder.open, number, body, now_ms())
        metrics.outcome(kind)
        event("opened", caller=number, kind=kind)  # never what came out
        content = json.dumps(opened.model_dump(exclude_none=kind != "identify")).encode()
        signature = sign_answer(holder.keys.signer, body, content)
        return Response(content, media_type="application/json", headers={SIGNATURE: signature})

    return app
