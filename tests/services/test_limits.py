"""What a service takes from outside is bounded, and it says so."""

import contextlib
import http.client
import json
import time

import pytest

from fedpriv.services.settings import HttpLimits
from tests.services.serving import ECHO, Serving, answer

BOUNDS = {
    "max_body_bytes": 20_000,
    "max_header_bytes": 4_000,
    "max_waiting_bytes": 40_000,
    "max_requests": 4,
}
POST = f"POST {ECHO} HTTP/1.1\r\nhost: x\r\n".encode()


@pytest.fixture(scope="module")
def small():
    with Serving(HttpLimits(**BOUNDS, header_s=0.5, body_s=0.6)) as serving:
        yield serving


@pytest.fixture
def patient():
    """The same bounds on numbers, and time enough to reach them on a slow machine."""
    with Serving(HttpLimits(**BOUNDS, header_s=60.0, body_s=60.0, shutdown_s=0.1)) as serving:
        yield serving


def send(serving: Serving, *parts: bytes) -> tuple[int, bytes]:
    with serving.connect() as connection:
        connection.sendall(POST)
        with contextlib.suppress(ConnectionError):
            for part in parts:
                connection.sendall(part)
        return answer(connection)


def test_a_body_within_the_bounds_comes_whole(small) -> None:
    body = bytes(range(256)) * 78
    length = f"content-length: {len(body)}\r\nconnection: close\r\n\r\n".encode()
    assert send(small, length + body[:5000], body[5000:]) == (200, body)


def test_an_announced_body_that_is_too_large_is_refused_before_it_comes(small) -> None:
    status, body = send(small, b"content-length: 20001\r\n\r\n")
    assert (status, json.loads(body)["cause"]) == (413, "body_too_large")
    assert send(small, b"content-length: 99999999999999999999\r\n\r\n")[0] in (400, 413)


def test_a_body_that_grows_too_large_is_refused(small) -> None:
    chunk = b"1000\r\n" + b"x" * 4096 + b"\r\n"
    status, body = send(small, b"transfer-encoding: chunked\r\n\r\n", *[chunk] * 6)
    assert (status, json.loads(body)["cause"]) == (413, "body_too_large")


def test_a_body_that_trickles_is_refused(small) -> None:
    with small.connect() as connection:
        connection.sendall(POST + b"content-length: 1000\r\n\r\n")
        begun = time.monotonic()
        with contextlib.suppress(ConnectionError):
            while time.monotonic() - begun < 0.9:
                connection.sendall(b"x")
                time.sleep(0.1)
        status, body = answer(connection)
    assert (status, json.loads(body)["cause"]) == (408, "too_slow")


def test_headers_that_trickle_close_the_connection(small) -> None:
    for beginning in (b"", b"GET /healthz HTTP/1.1\r\nx: ", b"\r\n"):
        with small.connect() as connection:
            connection.sendall(beginning)
            status, body = answer(connection)
            assert (status, json.loads(body)["cause"]) == (408, "too_slow")


@pytest.mark.parametrize("beginning", [b"GET /hea", b"\r\n"])
def test_a_second_request_whose_headers_trickle_closes_the_connection(small, beginning) -> None:
    with small.connect() as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        assert connection.recv(4096).startswith(b"HTTP/1.1 200")
        connection.sendall(beginning)
        assert answer(connection)[0] == 408


def test_headers_without_end_are_refused(small) -> None:
    assert send(small, *[b"x: " + b"y" * 1000 + b"\r\n"] * 20)[0] == 431
    status, body = send(small, b"x: " + b"y" * 20_000)
    assert (status, json.loads(body)["cause"]) == (431, "header_too_large")
    status, body = send(small, b"x: " + b"y" * 5000 + b"\r\ncontent-length: 0\r\n\r\n")
    assert (status, json.loads(body)["cause"]) == (431, "header_too_large")


def test_what_is_no_http_is_refused(small) -> None:
    with small.connect() as connection:
        connection.sendall(b"\x16\x03\x01 hello\r\n\r\n")
        assert answer(connection)[0] == 400


def send_until_busy(serving: Serving, *parts: bytes) -> bytes:
    """Send again until what the other connections sent has arrived and leaves no room."""
    for _ in range(100):
        status, body = send(serving, *parts)
        if status == 503:
            return body
        time.sleep(0.1)
    raise AssertionError(f"never full: {status} {body!r}")


def test_past_the_bound_on_requests_new_ones_are_refused_and_health_is_not(patient) -> None:
    waiting = [patient.connect() for _ in range(4)]
    try:
        for each in waiting:
            each.sendall(POST + b"content-length: 1000\r\n\r\n")
        body = send_until_busy(patient, b"content-length: 0\r\nconnection: close\r\n\r\n")
        assert json.loads(body) == {"cause": "busy", "detail": "4 requests are being answered"}
        for path in ("/healthz", "/metrics"):
            connection = http.client.HTTPConnection("127.0.0.1", patient.port, timeout=10)
            connection.request("GET", path)
            assert connection.getresponse().status == 200
            connection.close()
    finally:
        for each in waiting:
            each.close()


def test_past_the_bound_on_bytes_new_bodies_are_refused(patient) -> None:
    waiting = [patient.connect() for _ in range(2)]
    try:
        for each in waiting:
            each.sendall(POST + b"content-length: 20000\r\n\r\n" + b"x" * 19_999)
        length = b"content-length: 1000\r\nconnection: close\r\n\r\n"
        body = send_until_busy(patient, length + b"x" * 1000)
        assert "bytes of bodies are being worked on" in json.loads(body)["detail"]
    finally:
        for each in waiting:
            each.close()


def test_past_the_bound_on_connections_new_ones_are_closed() -> None:
    with (
        Serving(HttpLimits(max_connections=2)) as serving,
        serving.connect() as one,
        serving.connect() as another,
        serving.connect() as one_more,
    ):
        for each in (one, another):
            each.sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
            assert each.recv(4096).startswith(b"HTTP/1.1 200")
        assert answer(one_more) == (0, b"")
