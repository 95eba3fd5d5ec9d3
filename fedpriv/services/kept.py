"""A connection to one service that is kept open between requests, for code without an event loop."""

import contextlib
import http.client
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from fedpriv.errors import UserError
from fedpriv.services.outgoing import plain_connection

_TIMEOUT_S = 120.0
_Read = TypeVar("_Read")


class KeptConnection:
    """Requests, one after the other; made again where the service closed it; for one thread at a time.

    Attributes:
        url: of the service.
    """

    def __init__(self, url: str, ca: Path | None, command: str) -> None:
        """Connect to nothing yet.

        Args:
            url: of the service.
            ca: certificates that an https service's must come from; the system's without.
            command: what runs the service, for whom it does not answer.

        Raises:
            UserError: url or certificates are not usable.
        """
        self._connection = plain_connection(url, ca, _TIMEOUT_S)
        self.url, self._command = url, command

    def ask(
        self,
        method: str,
        target: str,
        body: bytes,
        kind: str,
        read: Callable[[http.client.HTTPResponse], _Read],
    ) -> _Read:
        """Send a request, perhaps twice, and return what ``read`` makes of the reply.

        Args:
            method: of HTTP.
            target: path and query.
            body: of the request.
            kind: its content type.
            read: is given the reply; what it leaves unread must be read before the next request.

        Raises:
            UserError: the service cannot be reached.
        """
        while True:
            fresh = self._connection.sock is None
            try:
                self._connection.request(method, target, body, {"content-type": kind})
                return read(self._connection.getresponse())
            except (OSError, http.client.HTTPException) as error:
                self._connection.close()
                # the service may have closed a connection kept open: once more on a fresh one
                if fresh:
                    raise UserError(
                        f"{self.url}: {error or type(error).__name__}; see that `{self._command}` runs there"
                    ) from error

    def refusal(self, status: int, answer: bytes) -> str:
        """Return what to tell the user of an answer that is a refusal."""
        said = json_object(answer)
        return f"{self.url}: refuses ({said.get('cause', status)}): {said.get('detail', '')}"

    def close(self) -> None:
        """Close it."""
        self._connection.close()


def json_object(answer: bytes) -> dict[str, Any]:
    """Return the object that an answer is; an empty one for any other answer."""
    with contextlib.suppress(ValueError, RecursionError):
        found = json.loads(answer)
        if isinstance(found, dict):
            return found
    return {}
