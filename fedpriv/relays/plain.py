"""The direct path: images in clear to the model server, batched alike. What the relays are compared to."""

import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from fedpriv.relays.attempt import Traffic
from fedpriv.relays.client import Asked, Unanswered
from fedpriv.relays.courier import Courier, NotDelivered
from fedpriv.services.outgoing import connections
from fedpriv.serving.answers import KINDS, decode_answer
from fedpriv.sharing.answer import RECORD_BYTES
from fedpriv.sharing.causes import Cause
from fedpriv.sharing.payload import DEFAULT_PAYLOAD_BYTES, pack


class PlainClient:
    """Asks a model server that was started with ``allow_plain``; ``async with``. No protection whatever."""

    def __init__(
        self, url: str, payload_bytes: int = DEFAULT_PAYLOAD_BYTES, models: Sequence[str] = KINDS
    ) -> None:
        """Ask at ``url``, the model server's; ``models`` are those it offers, in its order."""
        self._url, self._payload_bytes, self._models = url, payload_bytes, tuple(models)

    async def __aenter__(self) -> Self:
        """Make ready."""
        self._http = connections()
        self._courier = Courier(self._http, f"{self._url.rstrip('/')}/v1/images")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the connections."""
        await self._courier.close()
        await self._http.close()

    async def ask(self, image: NDArray[np.uint8], models: Sequence[str] = KINDS) -> Asked:
        """Ask about one image.

        Raises:
            UserError: the image does not fit.
            Unanswered: it got no answer; nothing is tried again.
        """
        begun = time.perf_counter()
        item = pack(image, tuple(self._models.index(model) for model in models), self._payload_bytes)
        record = await self._courier.ask(item)
        if isinstance(record, NotDelivered):
            raise Unanswered("unreachable", record.detail)
        if record[0]:
            raise Unanswered(Cause(record[0]).label, "the model server refused the image")
        content = record[3 : 3 + int.from_bytes(record[1:3], "big")]
        seconds = time.perf_counter() - begun
        return Asked(decode_answer(content), 0, 1, seconds, Traffic(len(item), 1 + RECORD_BYTES), ())
