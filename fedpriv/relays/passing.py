"""The first message of a handshake passed on to what is behind, and what that says passed back."""

from collections.abc import Mapping

import aiohttp
from fastapi import Response

from fedpriv.relays.courier import TIMEOUT, read_most
from fedpriv.relays.service import SESSIONS
from fedpriv.services.logs import event
from fedpriv.services.service import OCTETS, Refused
from fedpriv.sharing.causes import Cause

_MOST_REPLY_BYTES = 1 << 16


async def pass_handshake(
    http: aiohttp.ClientSession, upstream: str, body: bytes, headers: Mapping[str, str], what: str
) -> Response:
    """Return the response of ``upstream``, its status included, to ``body`` with more ``headers``.

    Raises:
        Refused: 503 ``busy`` when ``what`` is behind cannot be reached.
    """
    try:
        async with http.post(
            upstream + SESSIONS,
            data=body,
            headers={"content-type": OCTETS, **headers},
            timeout=TIMEOUT,
            allow_redirects=False,
        ) as reply:
            content = await read_most(reply.content, _MOST_REPLY_BYTES)
            kind = reply.headers.get("content-type", OCTETS)
    except (aiohttp.ClientError, OSError) as error:
        event("not delivered", status=0, reason=str(error) or type(error).__name__)
        raise Refused(503, Cause.BUSY.label, f"{what} cannot be reached") from error
    return Response(content, status_code=reply.status, headers={"content-type": kind})
