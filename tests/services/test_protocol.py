"""A connection holds little, and not for long: many requests at once, answers that nobody reads."""

import asyncio
import contextlib
import logging
import socket
import struct
import time
import urllib.request

import pytest
import uvloop

from fedpriv.services.protocol import MOST_QUEUED
from fedpriv.services.settings import HttpLimits
from tests.services.serving import LONG, Serving

BODY_S = 1.5
ASK = f"GET {LONG} HTTP/1.1\r\nhost: x\r\n\r\n".encode()


@pytest.fixture(scope="module", params=[asyncio.new_event_loop, uvloop.new_event_loop])
def small(request):
    with Serving(HttpLimits(header_s=5.0, body_s=BODY_S), request.param()) as serving:
        yield serving


@pytest.fixture(scope="module", params=[asyncio.new_event_loop, uvloop.new_event_loop])
def patient(request):
    with Serving(HttpLimits(header_s=60.0, body_s=60.0, idle_s=1.0), request.param()) as serving:
        yield serving


def ask_until_blocked(connection: socket.socket) -> None:
    """Ask for 160 kB: the network takes 40, the service's own buffer 64, the rest blocks it."""
    for _ in range(2):
        connection.sendall(ASK * 14)
        time.sleep(0.3)


def received(connection: socket.socket, answers: int | None = None) -> bytes:
    """Return what comes, until it is so many answers or the connection ends."""
    found = b""
    with contextlib.suppress(ConnectionError):
        while answers is None or found.count(b"HTTP/1.1 ") < answers or not found.endswith(b"}"):
            piece = connection.recv(65536)
            if not piece:
                break
            found += piece
    return found


def requests_running(serving: Serving) -> int:
    """Return how many requests the service answers now, this one not counted."""
    with urllib.request.urlopen(serving.url + "/metrics", timeout=10) as reply:  # noqa: S310 - ours
        lines = reply.read().decode().splitlines()
    return (
        next(int(float(line.split()[1])) for line in lines if line.startswith("fedpriv_requests_running")) - 1
    )


def until(condition, seconds: float = 8.0) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def test_requests_sent_ahead_are_answered_in_order(small) -> None:
    with small.connect() as connection:
        for _ in range(3):
            paths = [b"/healthz", b"/nothing"] * (MOST_QUEUED // 2)
            connection.sendall(b"".join(b"GET " + each + b" HTTP/1.1\r\nhost: x\r\n\r\n" for each in paths))
            found = received(connection, len(paths))
            assert [int(each.split()[0]) for each in found.split(b"HTTP/1.1 ")[1:]] == [200, 404] * 8


def test_bodies_sent_ahead_in_pieces_are_all_answered(small) -> None:
    request = b"POST /v1/echo HTTP/1.1\r\nhost: x\r\ncontent-length: 3000\r\n\r\n" + b"!409" + bytes(2996)
    everything = request * 8
    with small.connect() as connection:
        for at in range(0, len(everything), 1999):
            connection.sendall(everything[at : at + 1999])
            time.sleep(0.005)
        assert received(connection, 8).count(b"HTTP/1.1 409") == 8


def test_a_flood_of_requests_sent_ahead_closes_the_connection(small) -> None:
    with small.connect() as connection:
        with contextlib.suppress(ConnectionError):
            for _ in range(50):
                connection.sendall(b"GET /xx HTTP/1.1\r\n\r\n" * 1000)
        assert received(connection).count(b"HTTP/1.1 ") <= MOST_QUEUED + 1
    assert until(lambda: requests_running(small) == 0)


def test_no_answer_to_a_reader_who_never_reads_is_kept(small, caplog) -> None:
    with contextlib.ExitStack() as stack:
        waiting = [stack.enter_context(small.connect(narrow=True)) for _ in range(3)]
        for _ in range(2):
            for each in waiting:
                each.sendall(ASK * 14)
            time.sleep(0.3)
        assert until(lambda: requests_running(small) == 3)
        assert until(lambda: requests_running(small) == 0)
        for each in waiting:
            assert received(each).count(b"HTTP/1.1 200") < 28
    assert not [each for each in caplog.records if each.levelno >= logging.ERROR]


def test_a_connection_that_is_to_end_does_not_wait_for_its_reader(small) -> None:
    protocols = small.server.server_state.connections
    assert until(lambda: not protocols)
    with small.connect(narrow=True) as connection:
        connection.sendall(ASK * 14)  # more than the network takes, and too little to block the service
        time.sleep(0.3)
        connection.sendall(ASK.replace(b"host: x", b"host: x\r\nconnection: close"))
        assert until(lambda: any(each.transport.is_closing() for each in list(protocols)), 2.0)
        assert until(lambda: not protocols)


def test_an_idle_connection_with_an_unread_answer_is_reset(patient) -> None:
    protocols = patient.server.server_state.connections
    assert until(lambda: not protocols)
    with patient.connect(narrow=True) as connection:
        connection.sendall(ASK * 14)
        time.sleep(0.3)
        assert until(lambda: not any(each._busy for each in list(protocols)))
        assert any(each.transport.get_write_buffer_size() for each in list(protocols))
        assert until(lambda: not protocols)


def test_a_reader_who_leaves_in_the_middle_leaves_no_request_and_no_traceback(patient, caplog) -> None:
    for _ in range(3):
        with patient.connect(narrow=True) as connection:
            ask_until_blocked(connection)
            assert until(lambda: requests_running(patient) == 1)
            time.sleep(0.1)
            assert requests_running(patient) == 1
            linger = struct.pack("ii", 1, 0)  # a reset, not an end in order
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        assert until(lambda: requests_running(patient) == 0)
    assert not [each for each in caplog.records if each.levelno >= logging.ERROR]
