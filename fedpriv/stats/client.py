"""Sends encrypted tables to a server of statistics, asks for results and fetches them."""

import contextlib
import http.client
import json
import os
import secrets
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from fedpriv.errors import UserError
from fedpriv.he.tables.models import TableModel
from fedpriv.relays.outgoing import plain_connection
from fedpriv.stats.protocol import NUMBER, PART_BYTES, RESULTS, TABLES, UPLOADS

_TIMEOUT_S = 120.0
_MOST_JSON = 1 << 16
_MOST_RESULT = 8 << 30
_PAUSES_S = (0.1, 0.2, 0.5, 1.0)


class StatsClient:
    """Talks to one server; a context manager, for one thread. It needs no key.

    Guarantee:
        - What is sent are the bytes of encrypted tables, numbers that the server gave, and models.
    """

    def __init__(self, url: str, ca: Path | None = None) -> None:
        """Connect to nothing yet.

        Raises:
            UserError: url or certificates are not usable.
        """
        self._connection, self._url = plain_connection(url, ca, _TIMEOUT_S), url

    def upload(self, table: Path) -> str:
        """Send a table; return its number at the server.

        Raises:
            UserError: the file cannot be read, or the server refuses it, saying why.
        """
        upload = self._number(self._json("POST", UPLOADS), "upload")
        try:
            with table.open("rb") as file:
                offset = 0
                while part := file.read(PART_BYTES):
                    self._json("PUT", f"{UPLOADS}/{upload}?offset={offset}", part)
                    offset += len(part)
        except OSError as error:
            raise UserError(f"{table}: {error.strerror}; name an encrypted table") from error
        return self._number(self._json("POST", f"{UPLOADS}/{upload}/finish", source=table), "table")

    def delete(self, table: str) -> None:
        """Have the server delete a table; one that is gone, or a server that does not answer, is no error."""
        with contextlib.suppress(UserError):
            self._json("DELETE", f"{TABLES}/{table}")

    def compute(self, out: Path, tables: Sequence[str], pairs: bool, model: TableModel | None = None) -> None:
        """Write the result for some tables, by their numbers, when the server has it; then it forgets it.

        Raises:
            UserError: the server refuses, saying why, or ``out`` cannot be written.
        """
        wanted: dict[str, Any] = {"tables": list(tables), "pairs": pairs}
        if model is not None:
            wanted["model"] = {
                "kind": model.kind,
                "intercept": float(model.intercept),
                "coefficients": {name: float(value) for name, value in model.coefficients.items()},
                "impute": {name: float(value) for name, value in model.impute.items()},
            }
        number = self._number(self._json("POST", RESULTS, json.dumps(wanted).encode()), "result")
        waited = 0
        while not self._fetched(number, out):
            time.sleep(_PAUSES_S[min(waited, len(_PAUSES_S) - 1)])
            waited += 1
        self._json("DELETE", f"{RESULTS}/{number}")

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection."""
        self._connection.close()

    def _fetched(self, number: str, out: Path) -> bool:
        response = self._response("GET", f"{RESULTS}/{number}", b"")
        if response.status != 200:
            self._accepted(response)
            return False
        temporary = out.with_name(f".{out.name}.{secrets.token_hex(8)}")
        try:
            with temporary.open("xb") as file:
                received = 0
                while part := response.read(1 << 20):
                    received += len(part)
                    if received > _MOST_RESULT:
                        raise UserError(f"{self._url}: answers without end; this is no such server")
                    file.write(part)
                file.flush()
                os.fsync(file.fileno())
            os.link(temporary, out)
        except (OSError, http.client.HTTPException) as error:
            raise UserError(
                f"{out}: {getattr(error, 'strerror', None) or 'the answer ended early'}; try again"
            ) from error
        finally:
            temporary.unlink(missing_ok=True)
        return True

    def _json(self, method: str, target: str, body: bytes = b"", source: object = None) -> dict[str, Any]:
        return self._accepted(self._response(method, target, body), source)

    def _accepted(self, response: http.client.HTTPResponse, source: object = None) -> dict[str, Any]:
        said: dict[str, Any] = {}
        with contextlib.suppress(ValueError, RecursionError):
            found = json.loads(response.read(_MOST_JSON))
            said = found if isinstance(found, dict) else {}
        if response.status not in (200, 202):
            of = "" if source is None else f"{source}: "
            raise UserError(
                f"{of}{self._url}: refuses ({said.get('cause', response.status)}): {said.get('detail', '')}"
            )
        return said

    def _number(self, said: dict[str, Any], name: str) -> str:
        number = said.get(name)
        if not isinstance(number, str) or not NUMBER.fullmatch(number):
            raise UserError(f"{self._url}: answers with no {name}; this is no such server")
        return number

    def _response(self, method: str, target: str, body: bytes) -> http.client.HTTPResponse:
        kind = "application/octet-stream" if method == "PUT" else "application/json"
        for attempt in (0, 1):
            fresh = self._connection.sock is None
            try:
                self._connection.request(method, target, body, {"content-type": kind})
                return self._connection.getresponse()
            except (OSError, http.client.HTTPException) as error:
                self._connection.close()
                # the server may have closed a connection kept open; every request may be repeated
                if fresh or attempt:
                    raise UserError(
                        f"{self._url}: {error or type(error).__name__}; see that `fedpriv stats serve` runs "
                        f"there"
                    ) from error
        raise AssertionError("unreachable")
