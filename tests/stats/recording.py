"""A TCP proxy that keeps every byte that passes, in both directions."""

import contextlib
import socket
import threading
from types import TracebackType


class RecordingProxy:
    """Stands between a client and a server on loopback; a context manager."""

    def __init__(self, port: int) -> None:
        self._upstream, self._parts, self._lock = port, [], threading.Lock()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self._accepting = threading.Thread(target=self._accept, daemon=True)

    @property
    def seen(self) -> bytes:
        with self._lock:
            return b"".join(self._parts)

    def __enter__(self) -> "RecordingProxy":
        self._accepting.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._accepting.join(10)
        self._listening.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        # closed by who passes on, or whoever collects them would warn in the middle of another test
        with client, socket.create_connection(("127.0.0.1", self._upstream)) as server:
            back = threading.Thread(target=self._pass, args=(server, client), daemon=True)
            back.start()
            self._pass(client, server)
            back.join()

    def _pass(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while part := source.recv(1 << 16):
                with self._lock:
                    self._parts.append(part)
                target.sendall(part)
        for each in (source, target):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
