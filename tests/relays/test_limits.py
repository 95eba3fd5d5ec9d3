"""What services of the relays take from outside is bounded, and honest images go beside."""

import asyncio
import contextlib
import json
import socket
import urllib.parse

import pytest

from fedpriv.relays.client import RelayClient
from fedpriv.relays.plan import Plan
from fedpriv.sharing.causes import Cause
from tests.relays.running import Running
from tests.services.serving import answer

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
