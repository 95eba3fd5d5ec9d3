"""HTTP connections that cannot be held by sending slowly or without end, nor by never reading."""

import asyncio
import json
from collections.abc import Sized
from typing import Any

from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from fedpriv.services.settings import HttpLimits

MOST_QUEUED = 16
"""Requests of one connection that may wait for the answer to the one before."""


def _refusal(status: str, cause: str, detail: str) -> bytes:
    body = json.dumps({"cause": cause, "detail": detail}).encode()
    head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\nconnection: close\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


_REFUSALS = {
    408: _refusal("408 Request Timeout", "too_slow", "headers: not whole in time"),
    431: _refusal("431 Request Header Fields Too Large", "header_too_large", "headers: too many bytes"),
}


class _TooManyQueued(Exception):
    """Ends the parsing of what else was read."""


class QueueFlow(FlowControl):
    """Reads on only when no request waits for its turn."""

    def __init__(self, transport: asyncio.Transport, queue: Sized) -> None:
        """Watch a queue."""
        super().__init__(transport)
        self._queue = queue

    def resume_reading(self) -> None:
        """Read on, or leave what comes to the network."""
        if not self._queue:
            super().resume_reading()


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol with limits on what a connection may hold, and for how long.

    Guarantee:
        - A connection without whole headers ``header_s`` after it opened, or after the first byte of its
          next request, is closed; also when what it sends is no beginning of a request.
        - No more than ``max_header_bytes`` and one read are buffered of headers.
        - No more than ``MOST_QUEUED`` requests wait for the answer to the one before; a connection that
          sends more is closed, and nothing is read while one waits.
        - Who does not read its answers holds no request for longer than ``body_s``, and a connection that is
          to be closed for no longer either: then it is reset.
    """

    limits = HttpLimits()
    _timer: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None
    _running: RequestResponseCycle | None = None
    _heading = False
    _header_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the clock, or close what is one connection too many."""
        super().connection_made(transport)
        self.flow = QueueFlow(transport, self.pipeline)
        if len(self.connections) > self.limits.max_connections:
            transport.close()
            return
        self._expect_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clocks, and let go of what was asked."""
        self._stop()
        self._stop_unread()
        self.pipeline.clear()
        if self._running is not None:  # uvicorn tells the last request only, not the one being answered
            self._running.disconnected = True
            self._running.message_event.set()
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
        if len(self.pipeline) >= MOST_QUEUED:
            self._close()
            raise _TooManyQueued
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        """Begin with the next request; if there is to be none, see that the answer is read."""
        super().on_response_complete()
        if self.transport.is_closing():
            self._close()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP; nothing may come between the parts of another response."""
        if not self._busy and not self.transport.is_closing():
            super().send_400_response(msg)
        self._close()

    def pause_writing(self) -> None:
        """Start the clock: more is to be sent than the network takes."""
        super().pause_writing()
        self._expect_reading()

    def resume_writing(self) -> None:
        """Stop it, unless all of it must be read before the connection ends."""
        if not self.transport.is_closing():
            self._stop_unread()
        super().resume_writing()

    def timeout_keep_alive_handler(self) -> None:
        """Close a connection without requests; one that has not read its answer in all this time: reset."""
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        self._close()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def _close(self) -> None:
        self._stop()
        self.transport.close()
        if self.transport.get_write_buffer_size():
            self._expect_reading()

    def _expect_reading(self) -> None:
        if self._unread is None:
            self._unread = self.loop.call_later(self.limits.body_s, self.transport.abort)

    def _stop_unread(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

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
            self._close()


def bounded(limits: HttpLimits) -> type[BoundedProtocol]:
    """Return the protocol with these limits: uvicorn makes one instance per connection."""
    return type("BoundedProtocol", (BoundedProtocol,), {"limits": limits})
