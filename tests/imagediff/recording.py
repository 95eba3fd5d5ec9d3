"""A TCP proxy that keeps every byte of both directions: what somebody on the wire sees."""

import socket
import threading
from urllib.parse import urlsplit


class RecordingProxy:
    """Listens on loopback and passes everything on to a server; a context manager."""

    def __init__(self, upstream: str) -> None:
        address = urlsplit(upstream)
        self._upstream = (address.hostname, address.port)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self._seen: list[bytes] = []
        self._threads: list[threading.Thread] = []

    @property
    def bytes(self) -> bytes:
        """All that has passed."""
        return b"".join(self._seen)

    def __enter__(self) -> "RecordingProxy":
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.close()

    def _accept(self) -> None:
        while True:
            try:
                inner, _ = self._listening.accept()
            except OSError:
                return
            outer = socket.create_connection(self._upstream)
            for one, other in ((inner, outer), (outer, inner)):
                threading.Thread(target=self._pass, args=(one, other), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket) -> None:
        try:
            while piece := source.recv(1 << 16):
                self._seen.append(piece)
                target.sendall(piece)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass
