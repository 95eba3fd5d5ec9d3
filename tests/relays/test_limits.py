"""What a service takes from outside is bounded, and it says so."""

import asyncio
import contextlib
import http.client
import json
import socket
import time
import urllib.parse

import pytest

from fedpriv.relays.client import RelayClient
from fedpriv.relays.plan import Plan
from fedpriv.sharing.causes import Cause
from tests.relays.running import Running

LIMITS = {
    "max_body_bytes": 20_000,
    "max_header_bytes": 4_000,
    "max_waiting_bytes": 40_000,
    "max_requests": 4,
    "header_s": 0.5,
    "body_s": 0.6,
}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    plan = Plan(relays=2, shares=2, limits=LIMITS, client={"timeout_s": 20.0})
    with Running(tmp_path_factory.mktemp("limits") / "c", plan) as running:
        yield running


@pytest.fixture(scope="module")
def patient(tmp_path_factory):
    """The same bounds on numbers, and time enough to reach them on a slow machine."""
    plan = Plan(relays=2, shares=2, limits={**LIMITS, "header_s": 60.0, "body_s": 60.0})
    with Running(tmp_path_factory.mktemp("patient") / "c", plan) as running:
        yield running


SERVICES = ("relay-a", "model_server", "gateway")
PATHS = {
    "relay-a": "/v1/shares",
    "relay-b": "/v1/shares",
    "model_server": "/v1/shares",
    "gateway": "/v1/images",
}


def connect(running: Running, service: str) -> socket.socket:
    at = urllib.parse.urlsplit(running.layout.urls[service])
    return socket.create_connection((at.hostname, at.port), timeout=10)


def answer(connection: socket.socket) -> tuple[int, bytes]:
    """Return status and body of what comes until the service closes the connection."""
    received = b""
    with contextlib.suppress(ConnectionError):
        while piece := connection.recv(65536):
            received += piece
    head, _, body = received.partition(b"\r\n\r\n")
    return (int(head.split()[1]) if head else 0), body


def send(running: Running, service: str, *parts: bytes, path: str | None = None) -> tuple[int, bytes]:
    with connect(running, service) as connection:
        target = (path or PATHS[service]).encode()
        connection.sendall(b"POST " + target + b" HTTP/1.1\r\nhost: x\r\n")
        with contextlib.suppress(ConnectionError):
            for part in parts:
                connection.sendall(part)
        return answer(connection)


@pytest.mark.parametrize("service", SERVICES)
def test_an_announced_body_that_is_too_large_is_refused_before_it_comes(small, service) -> None:
    status, body = send(small, service, b"content-length: 20001\r\n\r\n")
    assert (status, json.loads(body)["cause"]) == (413, "body_too_large")
    assert send(small, service, b"content-length: 99999999999999999999\r\n\r\n")[0] in (400, 413)


@pytest.mark.parametrize("service", SERVICES)
def test_a_body_that_grows_too_large_is_refused(small, service) -> None:
    chunk = b"1000\r\n" + b"x" * 4096 + b"\r\n"
    status, body = send(small, service, b"transfer-encoding: chunked\r\n\r\n", *[chunk] * 6)
    assert (status, json.loads(body)["cause"]) == (413, "body_too_large")


@pytest.mark.parametrize("service", SERVICES)
def test_a_body_that_trickles_is_refused(small, service) -> None:
    with connect(small, service) as connection:
        connection.sendall(b"POST " + PATHS[service].encode() + b" HTTP/1.1\r\nhost: x\r\n")
        connection.sendall(b"content-length: 1000\r\n\r\n")
        begun = time.monotonic()
        with contextlib.suppress(ConnectionError):
            while time.monotonic() - begun < 0.9:
                connection.sendall(b"x")
                time.sleep(0.1)
        status, body = answer(connection)
    assert (status, json.loads(body)["cause"]) == (408, "too_slow")


def test_headers_that_trickle_close_the_connection(small) -> None:
    for beginning in (b"", b"GET /healthz HTTP/1.1\r\nx: ", b"\r\n"):
        with connect(small, "relay-a") as connection:
            connection.sendall(beginning)
            status, body = answer(connection)
            assert (status, json.loads(body)["cause"]) == (408, "too_slow")


def test_a_second_request_whose_headers_trickle_closes_the_connection(small) -> None:
    with connect(small, "relay-a") as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        assert connection.recv(4096).startswith(b"HTTP/1.1 200")
        connection.sendall(b"GET /hea")
        assert answer(connection)[0] == 408


def test_headers_without_end_are_refused(small) -> None:
    assert send(small, "relay-a", *[b"x: " + b"y" * 1000 + b"\r\n"] * 20)[0] == 431
    status, body = send(small, "relay-a", b"x: " + b"y" * 20_000)
    assert (status, json.loads(body)["cause"]) == (431, "header_too_large")
    status, body = send(small, "relay-a", b"x: " + b"y" * 5000 + b"\r\ncontent-length: 0\r\n\r\n")
    assert (status, json.loads(body)["cause"]) == (431, "header_too_large")


def test_what_is_no_http_is_refused(small) -> None:
    with connect(small, "relay-a") as connection:
        connection.sendall(b"\x16\x03\x01 hello\r\n\r\n")
        assert answer(connection)[0] == 400


def send_until_busy(running: Running, service: str, *parts: bytes) -> bytes:
    """Send again until what the other connections sent has arrived and leaves no room."""
    for _ in range(100):
        status, body = send(running, service, *parts)
        if status == 503:
            return body
        time.sleep(0.1)
    raise AssertionError(f"never full: {status} {body!r}")


def test_past_the_bound_on_requests_new_ones_are_refused_and_health_is_not(patient) -> None:
    waiting = [connect(patient, "relay-a") for _ in range(4)]
    try:
        for each in waiting:
            each.sendall(b"POST /v1/shares HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n")
        body = send_until_busy(patient, "relay-a", b"content-length: 0\r\nconnection: close\r\n\r\n")
        assert json.loads(body) == {"cause": "busy", "detail": "4 requests are being answered"}
        at = urllib.parse.urlsplit(patient.layout.urls["relay-a"])
        for path in ("/healthz", "/metrics"):
            connection = http.client.HTTPConnection(at.hostname, at.port, timeout=10)
            connection.request("GET", path)
            assert connection.getresponse().status == 200
            connection.close()
    finally:
        for each in waiting:
            each.close()


def test_past_the_bound_on_bytes_new_bodies_are_refused(patient) -> None:
    waiting = [connect(patient, "relay-b") for _ in range(2)]
    try:
        head = b"POST /v1/shares HTTP/1.1\r\nhost: x\r\ncontent-length: 20000\r\n\r\n"
        for each in waiting:
            each.sendall(head + b"x" * 19_999)
        length = b"content-length: 1000\r\nconnection: close\r\n\r\n"
        body = send_until_busy(patient, "relay-b", length + b"x" * 1000)
        assert "bytes of bodies are being worked on" in json.loads(body)["detail"]
    finally:
        for each in waiting:
            each.close()


def test_honest_images_are_answered_beside_slow_senders(small, eyes) -> None:
    waiting = [connect(small, "relay-a") for _ in range(3)]
    try:
        for each in waiting:
            each.sendall(b"POST /v1/shares HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\nx")

        async def go():
            async with small.client() as client:
                return [await client.ask(eyes[0]) for _ in range(3)]

        assert len({each.answer for each in asyncio.run(go())}) == 1
    finally:
        for each in waiting:
            each.close()


def test_bodies_that_are_no_envelopes_are_malformed(small) -> None:
    for body in (b"", b"x", b"FPS" + bytes(80), b"FPS" + bytes(77) + b"\xff\xff\xff\xff" + bytes(100)):
        length = b"content-length: " + str(len(body)).encode() + b"\r\nconnection: close\r\n\r\n"
        status, said = send(small, "relay-a", length + body)
        assert (status, json.loads(said)["cause"]) == (400, Cause.MALFORMED.label)


def test_the_model_server_speaks_to_its_relays_only(small) -> None:
    for headers in (b"", b"relay: a\r\nrelay-time: 1\r\nrelay-mac: 00\r\n", "relay: ä\r\n".encode("latin-1")):
        for path in ("/v1/shares", "/v1/sessions"):
            close = b"content-length: 1\r\nconnection: close\r\n\r\nx"
            status, body = send(small, "model_server", headers + close, path=path)
            assert (status, json.loads(body)["cause"]) == (401, Cause.WRONG_RELAY.label)


def test_clients_are_refused_settings_that_cannot_work(small) -> None:
    from fedpriv.errors import UserError

    for changes in ({"key_id": "zz"}, {"server_public": "00"}, {"shares": 3}, {"threshold": 5}):
        with pytest.raises(UserError):
            RelayClient(small.client(**changes).settings)
