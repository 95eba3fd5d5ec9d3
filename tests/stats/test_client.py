"""The client against servers that answer badly: no half result under its name, no whole one lost."""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from fedpriv.errors import UserError
from fedpriv.stats.client import StatsClient

NUMBER = "0" * 32
BODY = b"FPCT" + bytes(range(256)) * 100
WHOLE = BODY + hashlib.sha256(BODY).digest()


class Answers(BaseHTTPRequestHandler):
    """Gives one result, as ``server.sends`` says; ``server.deleted`` counts what it was told to delete."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.say(202, {"result": NUMBER})

    def do_GET(self):
        said, sent = self.server.sends
        self.send_response(200)
        self.send_header("content-length", str(said))
        self.end_headers()
        self.wfile.write(sent)
        self.close_connection = len(sent) != said

    def do_DELETE(self):
        self.server.deleted += 1
        self.say(*self.server.forgets)

    def say(self, status, content):
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as made:
        made.daemon_threads = True
        made.sends, made.deleted, made.forgets = (len(WHOLE), WHOLE), 0, (200, {})
        threading.Thread(target=made.serve_forever, daemon=True).start()
        yield made
        made.shutdown()


def fetched(server, out):
    with StatsClient(f"http://127.0.0.1:{server.server_address[1]}") as client:
        client.compute(out, [NUMBER], True)


def test_a_whole_result_is_kept_and_forgotten_there(server, tmp_path):
    fetched(server, tmp_path / "r")
    assert (tmp_path / "r").read_bytes() == WHOLE
    assert server.deleted == 1


@pytest.mark.parametrize(
    ("said", "sent"),
    [
        (len(WHOLE), WHOLE[:-1]),
        (len(WHOLE), WHOLE[:1000]),
        (len(WHOLE), b""),
        (1000, WHOLE[:1000]),
        (10, WHOLE[:10]),
        (0, b""),
        (len(WHOLE), WHOLE[:100] + b"!" + WHOLE[101:]),
    ],
)
def test_a_result_that_is_not_whole_is_refused_and_stays_at_the_server(server, tmp_path, said, sent):
    server.sends = (said, sent)
    with pytest.raises(UserError, match=r"r: the answer of http://.* is damaged or ended early; try again"):
        fetched(server, tmp_path / "r")
    assert not list(tmp_path.iterdir())
    assert server.deleted == 0


@pytest.mark.parametrize("status", [404, 500, 503])
def test_a_result_that_has_come_is_no_error_when_the_server_has_forgotten_it(server, tmp_path, status):
    server.forgets = (status, {"cause": "not_there", "detail": "gone"})
    fetched(server, tmp_path / "r")
    assert (tmp_path / "r").read_bytes() == WHOLE
