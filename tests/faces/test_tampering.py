"""Somebody on the way, or anybody at all: what they change, hold back, send or guess comes to nothing."""

import contextlib
import json
import re
import socket
import threading
from pathlib import Path

import pytest

from fedpriv.errors import UserError
from fedpriv.faces import entrance, in_the_clear
from fedpriv.faces.asking import JSON, Reply
from fedpriv.faces.caller import Asking
from fedpriv.faces.cards import Caller
from fedpriv.faces.holding import KeyHolder, KeyHolderSettings
from fedpriv.faces.signing import OWNER, Gatekeeper, Unsigned, signed_headers
from fedpriv.he.identity import SigningKey
from fedpriv.services.service import now_ms
from tests.faces.proxy import RecordingProxy
from tests.faces.running import THRESHOLD, Running, faces
from tests.faces.test_services import ticket_of


class Replacing(RecordingProxy):
    """Puts another id in the place of the one in a reply; bytes that are signed stay."""

    def __init__(self, target: int) -> None:
        super().__init__(target)
        self.ids: list[bytes] = []
        self.instead: bytes | None = None

    def _pass(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 20):
                if found := re.search(rb'"id":"([A-Za-z0-9_-]{12})"', data):
                    self.ids.append(found[1])
                    data = data.replace(found[1], self.instead or found[1])
                sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)


def test_an_id_that_is_exchanged_on_the_way_makes_nobody_somebody_else(running):
    one, vectors = running.asking(), running.pictures.vectors
    with Replacing(running.keyholder_port) as proxy:
        asking = Asking(running.caller, running.server, proxy.url, plain_probe=True)
        assert asking.verify("person 1", vectors[1]).accepted is True
        assert one.verify("person 0", vectors[1]).accepted is False
        proxy.instead = proxy.ids[0]
        with pytest.raises(UserError, match="answered another question than was asked, or about somebody"):
            asking.verify("person 0", vectors[1])


@pytest.mark.parametrize("plain", [True, False])
def test_a_ticket_held_back_is_no_answer_to_the_next_question(running, monkeypatch, plain):
    """It is the same caller's, fresh, signed and never opened: only the question is another."""
    asking, vectors = running.asking(plain_probe=plain), running.pictures.vectors
    real, held = asking._server.ask, []

    def ask(method: str, path: str, body: bytes = b"", kind: str = JSON) -> Reply:
        held.append(real(method, path, body, kind))
        return held[0]

    monkeypatch.setattr(asking._server, "ask", ask)
    assert asking.identify(vectors[0]).name == "person 0"
    held[:] = [real("POST", f"/v1/identify?threshold={THRESHOLD!r}", *probe_of(running, vectors[0]))]
    with pytest.raises(UserError, match="answered another question than was asked"):
        asking.identify(faces(1, seed=99)[0])


def probe_of(running: Running, vector):
    return json.dumps({"probe": vector.tolist()}).encode(), JSON


def test_an_answer_names_the_person_of_its_ticket(running):
    caller, ticket = ticket_of(running, f"/v1/verify/{id_of(running, 'person 0')}?threshold={THRESHOLD}")
    holder = KeyHolder(KeyHolderSettings(owner=running.owner, threshold=THRESHOLD))
    kind, opened = holder.open(caller.card.caller, ticket, now_ms())
    assert (kind, opened.person, opened.accepted) == ("verify", "person 0", True)


def id_of(running: Running, name: str) -> str:
    return running.as_owner().register.find(name).id


def test_guessing_who_is_enrolled_costs_openings(tmp_path):
    some = Running(tmp_path / "own", faces(4), budget=3)
    try:
        some.enrol({"anna": [0]})
        asking, probe = some.asking(), some.pictures.vectors[0]
        for name in ("zoe", "bob", "carl"):
            with pytest.raises(UserError, match=f"{name}: nobody of that name is enrolled"):
                asking.verify(name, probe)
        # spent: not even a right guess is told from a wrong one
        for name in ("dora", "anna"):
            with pytest.raises(UserError, match="budget of 3 openings in 24 hours is spent"):
                asking.verify(name, probe)
    finally:
        some.stop()


def test_a_right_name_costs_no_more_than_its_answer(running):
    asking, probe = running.asking(), running.pictures.vectors[0]
    before = asking.verify("person 0", probe).left
    assert asking.verify("person 0", probe).left == before - 1


@pytest.mark.parametrize("probe", ["1" + "0" * 400, "1e200", "1e999", "NaN", "-1e19", "1" * 4000])
def test_numbers_beyond_all_bounds_are_refused_in_one_line(running, probe):
    body = f'{{"probe":[{probe}{",0" * 15}]}}'.encode()
    with pytest.raises(UserError, match=r"probe"):
        running.asking()._server.ask("POST", f"/v1/identify?threshold={THRESHOLD}", body, JSON)


def refused_early(port: int, path: str, headers: dict[str, str], announced: int = 300 << 20) -> bytes:
    """Announce a body, send nothing of it, and return the answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        lines = [f"POST {path} HTTP/1.1", "host: x", f"content-length: {announced}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        pieces = []
        while piece := connection.recv(1 << 16):
            pieces.append(piece)
    return b"".join(pieces)


@pytest.mark.parametrize("service", ["server", "keyholder"])
def test_a_body_of_nobody_known_is_not_received(running, service):
    port = getattr(running, f"{service}_port")
    paths = {
        "server": ("/v1/identify?threshold=0.5", "/v1/people", "/v1/elsewhere"),
        "keyholder": ("/v1/open", "/v1/people"),
    }
    caller = Caller.load(running.caller, running.keys.public.verify_key)
    for path in paths[service]:
        good = signed_headers(caller, "POST", path, b"x", now_ms())
        for headers in (
            {},
            {"faces-sender": caller.card.text()},
            good | {"faces-body": "0" * 64},
            {name: value for name, value in good.items() if name != "faces-body"},
            signed_headers(caller, "POST", path + "x", b"x", now_ms()),
            signed_headers(caller, "POST", path, b"x", now_ms() - 120_000),
            signed_headers(Caller.make(SigningKey.generate()), "POST", path, b"x", now_ms()),
        ):
            answer = refused_early(port, path, headers, 60 << 20)
            assert answer.startswith(b"HTTP/1.1 401"), answer
            assert b"not_signed" in answer


def test_strangers_who_announce_bodies_keep_nobody_from_asking(running):
    answers: list[bytes] = []
    threads = [
        threading.Thread(
            target=lambda: answers.append(
                refused_early(running.server_port, "/v1/identify?threshold=0.5", {})
            )
        )
        for _ in range(6)
    ]
    for each in threads:
        each.start()
    assert running.asking().identify(running.pictures.vectors[0]).name == "person 0"
    for each in threads:
        each.join(20)
    assert [each[:12] for each in answers] == [b"HTTP/1.1 401"] * 6


def test_a_body_other_than_the_announced_one_is_refused(running):
    caller = Caller.load(running.caller, running.keys.public.verify_key)
    gate, path = Gatekeeper(running.keys.public.verify_key), "/v1/open"
    headers = signed_headers(caller, "POST", path, b"announced", 5)
    gate.announced(headers, "POST", path, 5)
    with pytest.raises(Unsigned, match="does not check"):
        gate.caller(headers, "POST", path, b"another", 5)
    assert gate.caller(headers, "POST", path, b"announced", 5) == caller.card.caller
    by_owner = signed_headers(running.keys.signer, "POST", path, b"x", 5)
    gate.announced(by_owner, "POST", path, 5)
    assert gate.owner(by_owner, "POST", path, b"x", 5) == OWNER


def test_a_body_that_takes_minutes_is_taken_and_its_repetition_is_not(running, monkeypatch):
    """A clock that is set on by hand while half of the body is there."""
    looked, started, passed = threading.Event(), now_ms(), 0

    def clock() -> int:
        looked.set()
        return started + passed

    monkeypatch.setattr(entrance, "now_ms", clock)
    caller = Caller.load(running.caller, running.keys.public.verify_key)
    path, (body, kind) = f"/v1/identify?threshold={THRESHOLD}", probe_of(running, running.pictures.vectors[0])
    headers = signed_headers(caller, "POST", path, body, started) | {"content-type": kind}
    for expected in (b"HTTP/1.1 200", b"HTTP/1.1 401"):
        looked.clear()
        passed = 0
        with socket.create_connection(("127.0.0.1", running.server_port), timeout=20) as connection:
            lines = [f"POST {path} HTTP/1.1", "host: x", "connection: close", f"content-length: {len(body)}"]
            lines += [f"{name}: {value}" for name, value in headers.items()]
            connection.sendall("\r\n".join([*lines, "", ""]).encode() + body[:9])
            assert looked.wait(20)
            passed = 240_000
            connection.sendall(body[9:])
            answer = b"".join(iter(lambda: connection.recv(1 << 16), b""))
        assert answer.startswith(expected), answer[:500]
    assert b"was made before" in answer


def test_services_in_the_clear_beyond_this_machine_say_so(tmp_path: Path) -> None:
    for host in ("127.0.0.1", "::1", "localhost", "127.8.8.8"):
        assert in_the_clear.listening(host, None) is None
    assert in_the_clear.listening("0.0.0.0", tmp_path) is None  # noqa: S104
    for host in ("0.0.0.0", "::", "192.0.2.7", "example.org", ""):  # noqa: S104
        said = in_the_clear.listening(host, None)
        assert said is not None
        assert "without --certificate" in said
    for url in ("http://127.0.0.1:8090", "http://[::1]:1", "http://localhost", "https://example.org"):
        assert in_the_clear.meeting(url) is None
    for url in ("http://example.org:8090", "http://192.0.2.7", "http://[2001:db8::1]:80"):
        said = in_the_clear.meeting(url)
        assert said is not None
        assert said.startswith(url)


def test_templates_in_clear_are_warned_of_where_others_read_them_on_the_way() -> None:
    for url in ("http://127.0.0.1:1", "http://localhost:1", "https://faces.example:1"):
        assert in_the_clear.enrolling(url) is None
    said = in_the_clear.enrolling("http://faces.example:1")
    assert said == "http://faces.example:1: without https whoever is on the way reads these templates"
