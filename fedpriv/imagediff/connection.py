"""One connection to a server of differences: requests, one after the other, and their answers."""

import urllib.parse
from pathlib import Path
from typing import Any

from fedpriv.errors import UserError
from fedpriv.he.users.public_keys import PublicKeys
from fedpriv.imagediff.protocol import KEYS
from fedpriv.services.kept import KeptConnection, json_object

_MOST_ANSWER = 32 << 20


class ServerConnection:
    """Kept open between requests, made again where the server closed it; for one thread at a time.

    Attributes:
        sent_bytes: in bodies of requests, so far.
        received_bytes: in bodies of answers.
    """

    def __init__(self, url: str, keys: PublicKeys, ca: Path | None) -> None:
        """Connect to nothing yet.

        Raises:
            UserError: url or certificates are not usable.
        """
        self._connection = KeptConnection(url, ca, "fedpriv imagediff serve")
        self._url, self._keys, self._known = url, keys, False
        self.sent_bytes = self.received_bytes = 0

    def ask(self, method: str, path: str, name: str, body: bytes) -> bytes:
        """Return the answer to one request; the public key goes before the first one.

        Raises:
            UserError: the server refuses, saying why, or cannot be reached.
        """
        query = {"key": self._keys.fingerprint, **({"name": name} if name else {})}
        target = f"{path}?{urllib.parse.urlencode(query)}"
        if not self._known:
            self._introduce()
        status, answer = self._exchange(method, target, body)
        if status == 404 and json_object(answer).get("cause") == "unknown_key":
            self._introduce()  # a server that was started again, or serves many, has forgotten it
            status, answer = self._exchange(method, target, body)
        return self._accepted(status, answer)

    def json(self, answer: bytes) -> dict[str, Any]:
        """Return the object that an answer is.

        Raises:
            UserError: when it is none.
        """
        found = json_object(answer)
        if not found:
            raise UserError(f"{self._url}: answers with no JSON object; this is no such server")
        return found

    def close(self) -> None:
        """Close it."""
        self._connection.close()

    def _introduce(self) -> None:
        self._accepted(*self._exchange("POST", KEYS, self._keys.to_bytes()))
        self._known = True

    def _accepted(self, status: int, answer: bytes) -> bytes:
        if status != 200:
            raise UserError(self._connection.refusal(status, answer))
        return answer

    def _exchange(self, method: str, target: str, body: bytes) -> tuple[int, bytes]:
        status, answer = self._connection.ask(
            method,
            target,
            body,
            "application/octet-stream",
            lambda response: (response.status, response.read(_MOST_ANSWER + 1)),
        )
        if len(answer) > _MOST_ANSWER:
            self._connection.close()
            raise UserError(
                f"{self._url}: answers with more than {_MOST_ANSWER} bytes; this is no such server"
            )
        self.sent_bytes += len(body)
        self.received_bytes += len(answer)
        return status, answer
