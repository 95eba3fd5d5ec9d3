"""The key holder's service: opens one ticket at a time, for callers that its owner admitted."""

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI, Request, Response
from pydantic import ValidationError

from fedpriv.errors import UserError
from fedpriv.faces.answers import SIGNATURE, sign_answer
from fedpriv.faces.bodies import Known, Name, Opened, Policy
from fedpriv.faces.entrance import received, senders
from fedpriv.faces.holding import KeyHolder, KeyHolderSettings
from fedpriv.faces.parties import Refusal
from fedpriv.faces.signing import Gatekeeper
from fedpriv.services.logs import event
from fedpriv.services.metrics import ServiceMetrics
from fedpriv.services.service import OCTETS_BODY, Refused, new_service, now_ms, refusals

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
_NAME_BODY: dict[str, Any] = {
    "requestBody": {"required": True, "content": {"application/json": {"schema": Name.model_json_schema()}}}
}


def build_keyholder(settings: KeyHolderSettings) -> FastAPI:
    """Return the application; warn on standard error where it decides above the FAR that was asked for.

    Raises:
        UserError: as :class:`KeyHolder`.
    """
    holder = KeyHolder(settings)
    if holder.warning:
        sys.stderr.write(f"faces keyholder: {holder.warning}\n")
    gatekeeper = Gatekeeper(holder.keys.public.verify_key, settings.http.body_s)
    metrics = ServiceMetrics(("/v1/about", "/v1/people", "/v1/open", "/healthz", "/metrics"))

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        event(
            "started",
            key=holder.keys.fingerprint[:16],
            threshold=holder.threshold,
            basis=holder.basis,
            raw_scores=settings.raw_scores,
        )
        yield
        event("stopped")

    app = new_service("faces key holder", settings, metrics, lifespan, senders(gatekeeper))

    async def caller(request: Request) -> tuple[str, bytes]:
        try:
            return await received(request, gatekeeper.caller)
        except Refused as error:
            metrics.outcome(error.cause)
            raise

    async def asked(number: str, function: Any, *arguments: Any) -> Any:
        try:
            return await asyncio.to_thread(function, *arguments)
        except Refusal as error:
            metrics.outcome(error.cause)
            event("refused", caller=number, cause=error.cause)
            raise Refused(_STATUSES.get(error.cause, 400), error.cause, str(error)) from error
        except UserError as error:
            # names files of the owner's, which are no caller's business
            event("failed", caller=number, reason=str(error))
            raise Refused(
                503, "register", "cannot open anything now; its owner finds the reason in its log"
            ) from error

    @app.get("/v1/about", response_model=Policy, responses=refusals(), tags=["everybody"])
    async def about() -> Policy:
        """Say what is opened."""
        return holder.policy()

    @app.post(
        "/v1/people",
        response_model=Known,
        responses=refusals(401, 403, 404, 422, 429),
        openapi_extra=_NAME_BODY,
        tags=["callers"],
    )
    async def people(request: Request) -> Known:
        """Say under which id the server knows a person of this name; costs an opening if there is none."""
        number, body = await caller(request)
        try:
            name = Name.model_validate_json(body).name
        except ValidationError as error:
            raise Refused(422, "malformed", f"name: {error.errors()[0]['msg']}") from error
        found: Known = await asked(number, holder.known, number, name, now_ms())
        return found

    @app.post(
        "/v1/open",
        response_model=Opened,
        responses=refusals(401, 403, 409, 429),
        openapi_extra=OCTETS_BODY,
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
