"""A wire between a client and a relay: passes every byte on, and keeps what the client sent."""

import socket
import socketserver
import threading
from urllib.parse import urlsplit


class Wiretap:
    """Listens on a free port in front of one URL; a context manager."""

    def __init__(self, url: str) -> None:
        upstream = urlsplit(url)
        self.sent = bytearray()

        class Pass(socketserver.BaseRequestHandler):
            def handle(handler) -> None:
                with socket.create_connection((upstream.hostname, upstream.port)) as relay:
                    back = threading.Thread(target=_pump, args=(relay, handler.request, None), daemon=True)
                    back.start()
                    _pump(handler.request, relay, self.sent)
                    back.join()

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Pass)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> "Wiretap":
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def _pump(source: socket.socket, target: socket.socket, kept: bytearray | None) -> None:
    try:
        while data := source.recv(1 << 16):
            if kept is not None:
                kept += data
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass
