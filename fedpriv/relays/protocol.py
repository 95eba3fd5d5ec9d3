"""HTTP connections that cannot be held open by sending headers slowly, or headers without end."""

import asyncio
import json

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from fedpriv.relays.settings import HttpLimits


def _refusal(status: str, cause: str, detail: str) -> bytes:
    body = json.dumps({"cause": cause, "detail": detail}).encode()
    head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\nconnection: close\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


_REFUSALS = {
    408: _refusal("408 Request Timeout", "too_slow", "headers: not whole in time"),
    431: _refusal("431 Request Header Fields Too Large", "header_too_large", "headers: too many bytes"),
}


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol with limits on the time and the bytes before a request's headers are whole.

    Guarantee:
        - A connection without whole headers ``header_s`` after it opened, or after the first byte of its
          next request, is closed; also when what it sends is no beginning of a request.
        - No more than ``max_header_bytes`` and one read are buffered of headers.
    """

    limits = HttpLimits()
    _timer: asyncio.TimerHandle | None = None
    _heading = False
    _header_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the clock, or close what is one connection too many."""
        super().connection_made(transport)
        if len(self.connections) > self.limits.max_connections:
            transport.close()
            return
        self._expect_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock."""
        self._stop()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse, and count what is of headers."""
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._heading:
            self._header_bytes += len(data)
            if self._header_bytes > self.limits.max_header_bytes:
                self._refuse(431)
                return
        if self._heading or not self._busy:
            self._expect_headers()

    def on_message_begin(self) -> None:
        """Count anew."""
        super().on_message_begin()
        self._heading, self._header_bytes = True, 0

    def on_headers_complete(self) -> None:
        """Stop the clock."""
        self._heading = False
        self._stop()
        super().on_headers_complete()

    @property
    def _busy(self) -> bool:
        """Tell whether a request is being answered; there is no cycle before the first one."""
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is not None and not cycle.response_complete

    def _expect_headers(self) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(self.limits.header_s, self._refuse, 408)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _refuse(self, status: int) -> None:
        self._stop()
        if not self.transport.is_closing():
            # a response to an earlier request of the connection may be under way: nothing may come between
            if not self._busy:
                self.transport.write(_REFUSALS[status])
            self.transport.close()


def bounded(limits: HttpLimits) -> type[BoundedProtocol]:
    """Return the protocol with these limits: uvicorn makes one instance per connection."""
    return type("BoundedProtocol", (BoundedProtocol,), {"limits": limits})
