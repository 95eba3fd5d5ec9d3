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
        self._accepting = threading.Thread(target=self._accept, daemon=True)

    @property
    def bytes(self) -> bytes:
        """All that has passed."""
        return b"".join(self._seen)

    def __enter__(self) -> "RecordingProxy":
        self._accepting.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._accepting.join(10)
        self._listening.close()

    def _accept(self) -> None:
        while True:
            try:
                inner, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(inner,), daemon=True).start()

    def _serve(self, inner: socket.socket) -> None:
        # closed by who passes on, or whoever collects them would warn in the middle of another test
        with inner, socket.create_connection(self._upstream) as outer:
            back = threading.Thread(target=self._pass, args=(outer, inner), daemon=True)
            back.start()
            self._pass(inner, outer)
            back.join()

    def _pass(self, source: socket.socket, target: socket.socket) -> None:
        try:
            while piece := source.recv(1 << 16):
                self._seen.append(piece)
                target.sendall(piece)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass
