"""ASGI middleware: what a service takes from outside is bounded before anything looks at it."""

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any, Protocol

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fedpriv.services.settings import HttpLimits

ALWAYS = ("/healthz", "/metrics")
"""Paths that are answered also when a service is full."""


class Observer(Protocol):
    """What is told of every request."""

    def began(self) -> None:
        """A request began."""

    def ended(self, path: str, status: int, seconds: float, body_bytes: int) -> None:
        """It ended; ``status`` is 0 when no response was begun."""


class LimitsMiddleware:
    """Receives bodies whole and bounded, refuses what is too much, and reports every request.

    Guarantee:
        - The application sees a request only when its body is whole and within ``max_body_bytes``; a body
          whose announced or actual size is larger is refused (413) without being kept.
        - A body that is not whole after ``body_s`` is refused (408), however steadily it trickles in.
        - All bodies together never exceed ``max_waiting_bytes``, nor requests ``max_requests``: what is
          more is refused (503, Retry-After), except health and metrics.
        - Slow senders are charged for what they sent, not for what they announce.

    Edge cases:
        - After a refusal the connection is closed: the rest of the body is never read.
    """

    def __init__(
        self,
        app: ASGIApp,
        limits: HttpLimits,
        observer: Observer,
        admits: Callable[[Scope], None] | None = None,
    ) -> None:
        """Wrap ``app``.

        Args:
            app: what answers.
            limits: the bounds.
            observer: is told of every request.
            admits: raises :class:`Refused` where, by its headers, a body is not to be received.
        """
        self._app, self._limits, self._observer, self._admits = app, limits, observer, admits
        self._requests, self._bytes = 0, 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection event of ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun, status, body = time.perf_counter(), 0, b""

        async def observed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        self._requests += 1
        self._observer.began()
        try:
            body = await self._receive(scope, receive)
            await self._app(scope, _Replay(body, receive), observed)
        except Refused as refusal:
            await refusal.send(observed)
        except Exception:
            status = status or 500  # whoever is outside answers it so
            raise
        finally:
            self._requests -= 1
            self._bytes -= len(body)
            self._observer.ended(scope["path"], status, time.perf_counter() - begun, len(body))

    async def _receive(self, scope: Scope, receive: Receive) -> bytes:
        limits = self._limits
        headers = scope["headers"]
        size = len(scope.get("raw_path") or b"") + len(scope["query_string"])
        if size + sum(len(name) + len(value) + 4 for name, value in headers) > limits.max_header_bytes:
            raise Refused(431, "header_too_large", f"headers: at most {limits.max_header_bytes} bytes")
        if self._requests > limits.max_requests and scope["path"] not in ALWAYS:
            raise Refused(503, "busy", f"{limits.max_requests} requests are being answered")
        announced = next((value for name, value in headers if name == b"content-length"), b"0")
        if not announced.isdigit() or len(announced) > 19 or int(announced) > limits.max_body_bytes:
            raise Refused(413, "body_too_large", f"body: at most {limits.max_body_bytes} bytes")
        if announced == b"0" and all(name != b"transfer-encoding" for name, _ in headers):
            return b""
        if self._admits is not None:
            self._admits(scope)
        pieces: list[bytes] = []
        count = 0
        try:
            async with asyncio.timeout(limits.body_s):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise Refused(400, "disconnected", "the body was not sent whole")
                    piece = message.get("body", b"")
                    if count + len(piece) > limits.max_body_bytes:
                        raise Refused(413, "body_too_large", f"body: at most {limits.max_body_bytes} bytes")
                    if self._bytes + len(piece) > limits.max_waiting_bytes:
                        raise Refused(503, "busy", f"{self._bytes} bytes of bodies are being worked on")
                    pieces.append(piece)
                    count += len(piece)
                    self._bytes += len(piece)
                    if not message.get("more_body", False):
                        return b"".join(pieces)
        except TimeoutError as error:
            self._bytes -= count
            raise Refused(408, "too_slow", f"body: not whole after {limits.body_s:g} s") from error
        except BaseException:
            self._bytes -= count
            raise


class _Replay:
    """Hands the body that was received to the application, then what comes after it."""

    def __init__(self, body: bytes, receive: Receive) -> None:
        self._body: bytes | None = body
        self._receive = receive

    async def __call__(self) -> Message:
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        return await self._receive()


class Refused(Exception):
    """Ends a request with its cause and a text."""

    def __init__(self, status: int, cause: str, detail: str) -> None:
        """Refuse with a status of HTTP."""
        super().__init__(detail)
        self.status, self.cause, self.detail = status, cause, detail

    async def send(self, send: Any) -> None:
        """Send it as a whole response."""
        body = json.dumps({"cause": self.cause, "detail": self.detail}).encode()
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
        ]
        if self.status == 503:
            headers.append((b"retry-after", b"1"))
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})
