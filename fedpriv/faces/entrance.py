"""Who may send what: looked at before a byte of a body is received, and again when it is there."""

import asyncio
from collections.abc import Callable, Mapping

from starlette.requests import Request
from starlette.types import Scope

from fedpriv.faces.signing import Gatekeeper, Unsigned
from fedpriv.services.service import Refused, now_ms

Check = Callable[[Mapping[str, str], str, str, bytes, int], str]
"""A gatekeeper's method for one kind of sender."""

_ARRIVED = "fedpriv.faces.arrived_ms"


def path_of(request: Request) -> str:
    """Return the path of a request with its query, as its sender signed it."""
    query = request.url.query
    return request.url.path + (f"?{query}" if query else "")


def senders(gatekeeper: Gatekeeper) -> Callable[[Scope], None]:
    """Return what lets a body be received, or raises :class:`~fedpriv.services.service.Refused` (401)."""

    def known(scope: Scope) -> None:
        # a body may take longer than clocks may differ, so that the time is that of the headers
        request, scope[_ARRIVED] = Request(scope), now_ms()
        try:
            gatekeeper.announced(request.headers, request.method, path_of(request), scope[_ARRIVED])
        except Unsigned as error:
            raise _unsigned(error) from error

    return known


async def received(request: Request, check: Check) -> tuple[str, bytes]:
    """Return who sent a request, and its body.

    Raises:
        Refused: ``check`` does not let it pass (401).
    """
    # without a body there was nothing to let be received
    arrived_ms = request.scope.get(_ARRIVED) or now_ms()
    body = await request.body()
    try:
        # in a thread: hashing an enrolment takes a tenth of a second
        who = await asyncio.to_thread(
            check, request.headers, request.method, path_of(request), body, arrived_ms
        )
        return who, body
    except Unsigned as error:
        raise _unsigned(error) from error


def _unsigned(error: Unsigned) -> Refused:
    return Refused(401, "not_signed", str(error))
