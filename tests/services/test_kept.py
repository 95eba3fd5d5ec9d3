"""A kept connection: made again when the service closed it, and one line when there is none."""

import socket
import threading

import pytest

from fedpriv.errors import UserError
from fedpriv.services.kept import KeptConnection, json_object
from fedpriv.services.settings import HttpLimits
from tests.services.serving import ECHO, Serving


def echoed(connection: KeptConnection, body: bytes) -> tuple[int, bytes]:
    return connection.ask("POST", ECHO, body, "x/y", lambda reply: (reply.status, reply.read()))


def test_requests_follow_each_other_on_one_connection() -> None:
    with Serving(HttpLimits()) as serving:
        connection = KeptConnection(serving.url, None, "thing serve")
        for body in (b"a", b"", b"b" * 100_000):
            assert echoed(connection, body) == (200, body)
            assert len(serving.server.server_state.connections) == 1
        connection.close()


def test_one_that_the_service_closed_is_made_again() -> None:
    with Serving(HttpLimits(idle_s=0.6)) as serving:
        connection = KeptConnection(serving.url, None, "thing serve")
        assert echoed(connection, b"first") == (200, b"first")
        for _ in range(200):
            if not serving.server.server_state.connections:
                break
            threading.Event().wait(0.05)
        assert not serving.server.server_state.connections
        assert echoed(connection, b"second") == (200, b"second")
        connection.close()


def test_a_service_that_is_not_there_is_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    connection = KeptConnection(f"http://127.0.0.1:{port}", None, "thing serve")
    with pytest.raises(
        UserError, match=rf"^http://127\.0\.0\.1:{port}: .*refused; see that `thing serve` runs"
    ):
        echoed(connection, b"x")
    with pytest.raises(UserError, match="is no URL of a service"):
        KeptConnection("ftp://x", None, "thing serve")


def test_a_service_that_hangs_up_on_a_fresh_connection_is_not_asked_again() -> None:
    asked = []

    def hang_up(listening: socket.socket) -> None:
        while True:
            try:
                found, _ = listening.accept()
            except OSError:
                return
            asked.append(found.recv(65536))
            found.close()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0.5)
        thread = threading.Thread(target=hang_up, args=(listening,))
        thread.start()
        connection = KeptConnection(f"http://127.0.0.1:{listening.getsockname()[1]}", None, "thing serve")
        with pytest.raises(UserError, match="see that `thing serve` runs there"):
            echoed(connection, b"x")
        thread.join()
    assert len(asked) == 1


def test_a_refusal_says_cause_and_detail() -> None:
    with Serving(HttpLimits()) as serving:
        connection = KeptConnection(serving.url, None, "thing serve")
        status, answer = echoed(connection, b"!409no more")
        assert connection.refusal(status, answer) == f"{serving.url}: refuses (told): no more"
        assert connection.refusal(502, b"<html>") == f"{serving.url}: refuses (502): "
        connection.close()


@pytest.mark.parametrize("answer", [b"", b"[1]", b"3", b"{", b"[" * 100_000, b"\xff"])
def test_what_is_no_object_is_an_empty_one(answer) -> None:
    assert json_object(answer) == {}
    assert json_object(b'{"a": 1}') == {"a": 1}
