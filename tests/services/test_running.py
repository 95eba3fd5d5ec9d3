"""A service as a process: where it listens, why it does not start, and when it ends."""

import contextlib
import json
import signal
import socket
import subprocess
import sys
import time

import pytest

from fedpriv.services.certificates import certificates
from fedpriv.services.logs import LISTENS
from fedpriv.services.outgoing import healthy
from fedpriv.services.running import _listening
from fedpriv.services.settings import ServiceSettings

THING = [sys.executable, "-m", "tests.services.thing"]


@contextlib.contextmanager
def started(*arguments, **more):
    """Start it and yield the process and where it says that it listens."""
    with subprocess.Popen(
        [*THING, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more
    ) as process:
        try:
            line = process.stdout.readline()
            assert line.startswith(LISTENS), process.stderr.read()
            yield process, line.removeprefix(LISTENS).strip()
        finally:
            process.kill()


def refused(*arguments) -> str:
    """Return the one line that it says when it does not start."""
    done = subprocess.run(
        [*THING, *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False
    )
    lines = [each for each in done.stderr.splitlines() if not each.startswith("keeps ")]
    assert (done.returncode, len(lines), done.stdout) == (2, 1, "")
    return lines[0]


def test_it_says_where_it_listens_and_ends_in_order() -> None:
    with started("--port", 0, "--most-gib", 0.5) as (process, url):
        assert healthy(url)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=30)
    assert process.returncode in (0, -signal.SIGTERM)
    first, *logged = said.splitlines()
    assert first == f"keeps {1 << 29}"
    assert {json.loads(each)["service"] for each in logged} == {"thing"}


def test_a_name_of_several_addresses_is_one_port_at_all_of_them(monkeypatch) -> None:
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, 0)) for host in ("127.0.0.1", "127.0.0.2")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [*found, *found])
    sockets = _listening(ServiceSettings(host="several", port=0), "thing serve")
    names = [each.getsockname() for each in sockets]
    for each in sockets:
        each.close()
    assert [host for host, _ in names] == ["127.0.0.1", "127.0.0.2"]
    assert len({port for _, port in names}) == 1


def test_with_a_certificate_it_speaks_https(tmp_path) -> None:
    ca, made = certificates({"thing": "127.0.0.1"})
    for name, text in (("ca", ca), ("certificate", made["thing"][0]), ("key", made["thing"][1])):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o600)
    tls = ("--certificate", tmp_path / "certificate", "--certificate-key", tmp_path / "key")
    with started("--port", 0, *tls) as (_, url):
        assert url.startswith("https://127.0.0.1:")
        assert healthy(url, tmp_path / "ca")
        assert not healthy(url)  # nobody else vouches for it
    (tmp_path / "key").chmod(0o644)
    assert "others may read the key of the certificate; chmod 0600" in refused("--port", 0, *tls)
    (tmp_path / "key").write_text("nothing")
    (tmp_path / "key").chmod(0o600)
    assert "cannot be used" in refused("--port", 0, *tls)
    assert "needs a certificate" in refused("--port", 0, *tls[2:])


def test_an_address_that_is_not_to_be_had_is_one_line_and_status_2() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert refused("--port", port) == (
            f"fedpriv: thing serve: cannot listen on host=127.0.0.1, port={port}: address already in use; "
            "end what listens there, or choose another address"
        )
    assert "host=no.such.invalid" in refused("--port", 0, "--host", "no.such.invalid")
    assert refused("--port", 65536) == "fedpriv: --port 65536: give 0 to 65535"
    assert refused("--port", -1) == "fedpriv: --port -1: give 0 to 65535"


def test_it_ends_with_its_input_if_told_so() -> None:
    with started("--port", 0, "--until-eof", stdin=subprocess.PIPE) as (process, url):
        process.stdin.write("anything\n")
        process.stdin.flush()
        assert healthy(url)
        process.stdin.close()
        process.wait(30)
    assert process.returncode in (0, -signal.SIGTERM)


def test_it_ends_with_who_started_it_also_when_that_is_gone_already() -> None:
    parent = subprocess.Popen([sys.executable, "-c", ""])
    parent.wait()
    command = [*THING, "--port", "0", "--with-parent", str(parent.pid)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as orphan:
        assert orphan.wait(60) in (0, -signal.SIGTERM)


@pytest.mark.slow
def test_a_request_under_way_is_answered_before_it_ends() -> None:
    with started("--port", 0) as (process, url):
        with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), 10) as connection:
            connection.sendall(b"POST /v1/echo HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\nab")
            time.sleep(0.5)
            process.send_signal(signal.SIGTERM)
            time.sleep(0.5)
            connection.sendall(b"cd")
            assert connection.recv(4096).startswith(b"HTTP/1.1 200")
        process.wait(30)
