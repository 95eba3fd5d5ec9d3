"""Requests to the two services, signed, for code without an event loop."""

import http.client
import json
import ssl
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedpriv.errors import UserError
from fedpriv.faces.cards import Caller
from fedpriv.faces.signing import signed_headers
from fedpriv.he.identity import SigningKey
from fedpriv.he.strict_json import parse_object
from fedpriv.services.outgoing import plain_connection

OCTETS, JSON = "application/octet-stream", "application/json"

_TIMEOUT_S = 300.0
_CONNECT_S = 10.0
_MOST_BYTES = 512 << 20
_MOST_JSON = 64 << 20
_PIECE = 1 << 20


@dataclass(frozen=True)
class Reply:
    """What a service answered.

    Attributes:
        body: whole.
        headers: by lower-case name.
    """

    body: bytes
    headers: dict[str, str]


class Service:
    """One service, and who asks it.

    Edge cases:
        - Whatever goes wrong is one line that names the service: what it refuses, that it cannot be
          reached, that it is not what it should be.
    """

    def __init__(self, url: str, sender: Caller | SigningKey, ca: Path | None = None) -> None:
        """Name a service; nothing is sent.

        Args:
            url: ``http://...`` or ``https://...``.
            sender: signs requests.
            ca: certificates that an https service's must come from; the system's without.
        """
        self.url = url.rstrip("/")
        self._sender, self._ca = sender, ca

    def ask(self, method: str, path: str, body: bytes = b"", kind: str = OCTETS) -> Reply:
        """Send a signed request and return the reply.

        Args:
            method: of HTTP.
            path: with its query.
            body: of the request.
            kind: its content type.

        Raises:
            UserError: when it is refused, or the service cannot be reached.
        """
        headers = signed_headers(self._sender, method, path, body, time.time_ns() // 1_000_000)
        if body:
            headers["content-type"] = kind
        connection = plain_connection(self.url, self._ca, _CONNECT_S)
        try:
            connection.connect()
            if connection.sock is not None:
                connection.sock.settimeout(_TIMEOUT_S)
            self._send(connection, method, path, body, headers)
            response = connection.getresponse()
            found = self._body(response)
            if response.status != 200:
                raise UserError(f"{self.url}: {_detail(found, response.status)}")
            return Reply(found, {name.lower(): value for name, value in response.getheaders()})
        except ssl.SSLCertVerificationError as error:
            raise UserError(
                f"{self.url}: its certificate is not trusted ({error.reason}); give --ca"
            ) from error
        except ssl.SSLError as error:
            raise UserError(
                f"{self.url}: speaks no https here ({error.reason}); does the service listen with http?"
            ) from error
        except TimeoutError as error:
            raise UserError(f"{self.url}: no answer in time; see whether the service runs") from error
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "strerror", None) or type(error).__name__
            raise UserError(f"{self.url}: cannot be reached ({reason}); is the service running?") from error
        finally:
            connection.close()

    def ask_json(self, method: str, path: str, body: bytes = b"", kind: str = JSON) -> dict[str, Any]:
        """Send a signed request and return the JSON object of the reply.

        Raises:
            UserError: as :meth:`ask`, and when it is no JSON object.
        """
        reply = self.ask(method, path, body, kind)
        if len(reply.body) > _MOST_JSON:
            raise UserError(f"{self.url}: answered {len(reply.body)} bytes; is it a service of fedpriv?")
        return parse_object(self.url, reply.body, "answer")

    def _send(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        body: bytes,
        headers: dict[str, str],
    ) -> None:
        try:
            connection.request(method, path, body or None, headers)
        except (BrokenPipeError, ConnectionResetError):
            # a service that refuses early does not read the rest of the body; its answer may be there
            if connection.sock is None:
                raise

    def _body(self, response: http.client.HTTPResponse) -> bytes:
        pieces, size = [], 0
        while piece := response.read(_PIECE):
            size += len(piece)
            if size > _MOST_BYTES:
                raise UserError(
                    f"{self.url}: answered more than {_MOST_BYTES} bytes; is it fedpriv's service?"
                )
            pieces.append(piece)
        return b"".join(pieces)


def _detail(body: bytes, status: int) -> str:
    try:
        found = json.loads(body[:4096])
        text = found["detail"] if isinstance(found, dict) else None
    except (ValueError, KeyError, RecursionError):
        text = None
    return text[:300] if isinstance(text, str) else f"answered with status {status}"
