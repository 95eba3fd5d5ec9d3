"""Sends encrypted tables to a server of statistics, asks for results and fetches them."""

import contextlib
import hashlib
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
from fedpriv.services.kept import KeptConnection, json_object
from fedpriv.stats.protocol import NUMBER, PART_BYTES, RESULTS, TABLES, UPLOADS

_OCTETS, _JSON = "application/octet-stream", "application/json"
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
        self._connection, self._url = KeptConnection(url, ca, "fedpriv stats serve"), url

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

        Guarantee:
            - ``out`` appears when all of it has come and its checksum holds; before that the server keeps it.

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
        with contextlib.suppress(UserError):  # the result is here; the server forgets it by itself, too
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
        response = self._connection.ask("GET", f"{RESULTS}/{number}", b"", _JSON, lambda found: found)
        if response.status != 200:
            self._accepted(response.status, response.read(_MOST_JSON))
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
            if response.getheader("content-length") not in (None, str(received)) or not _whole(temporary):
                raise UserError(f"{out}: the answer of {self._url} is damaged or ended early; try again")
            os.link(temporary, out)
        except (OSError, http.client.HTTPException) as error:
            raise UserError(
                f"{out}: {getattr(error, 'strerror', None) or 'the answer ended early'}; try again"
            ) from error
        finally:
            temporary.unlink(missing_ok=True)
        return True

    def _json(self, method: str, target: str, body: bytes = b"", source: object = None) -> dict[str, Any]:
        kind = _OCTETS if method == "PUT" else _JSON
        status, answer = self._connection.ask(
            method, target, body, kind, lambda response: (response.status, response.read(_MOST_JSON))
        )
        return self._accepted(status, answer, source)

    def _accepted(self, status: int, answer: bytes, source: object = None) -> dict[str, Any]:
        if status not in (200, 202):
            of = "" if source is None else f"{source}: "
            raise UserError(f"{of}{self._connection.refusal(status, answer)}")
        return json_object(answer)

    def _number(self, said: dict[str, Any], name: str) -> str:
        number = said.get(name)
        if not isinstance(number, str) or not NUMBER.fullmatch(number):
            raise UserError(f"{self._url}: answers with no {name}; this is no such server")
        return number


def _whole(path: Path) -> bool:
    """Tell whether a result ends with the checksum of all before, as an unsigned cipher set does."""
    tail = hashlib.sha256().digest_size
    with path.open("rb") as file:
        digest, left = hashlib.sha256(), path.stat().st_size - tail
        while left > 0:
            part = file.read(min(left, 1 << 20))
            digest.update(part)
            left -= len(part)
        return left == 0 and file.read() == digest.digest()
