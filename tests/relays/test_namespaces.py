"""The constellation in network namespaces: who reaches whom, and that nothing stays behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fedpriv.cli import main
from fedpriv.errors import UserError
from fedpriv.relays import namespaces
from fedpriv.relays.namespaces import Namespaces, abandoned
from fedpriv.relays.plan import Layout, Plan

PLAN = Plan(relays=2, shares=2, adversary=True)
CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 1.5).close()"

# no HTTP server: it asks for its own name before it listens, and there is nobody to answer
LISTEN = "import socketserver as s; s.TCPServer(('', 8080), s.BaseRequestHandler).serve_forever()"


def why_not() -> str | None:
    try:
        with Namespaces(("gateway",)):
            return None
    except UserError as error:
        return str(error)


WHY_NOT = why_not()
allowed = pytest.mark.skipif(WHY_NOT is not None, reason=f"network namespaces: {WHY_NOT}")


def ours(process: int) -> list[str]:
    folder = Path("/run/netns")
    return [each.name for each in folder.iterdir() if each.name.startswith(f"fedpriv-{process}-")]


def links(process: int) -> list[str]:
    return [each.name for each in Path("/sys/class/net").iterdir() if each.name.startswith(f"fp{process}")]


def require_reached(apart: Namespaces, service: str, host: str, port: int) -> None:
    said, until = "nobody asked", time.monotonic() + 60
    while said and time.monotonic() < until:
        time.sleep(0.1)
        said = why_not_reached(apart, service, host, port)
    assert not said


def reaches(apart: Namespaces, service: str, host: str, port: int) -> bool:
    said = why_not_reached(apart, service, host, port)
    assert not said or "timed out" in said or "unreachable" in said, said  # or nothing was tried
    return not said


def why_not_reached(apart: Namespaces, service: str, host: str, port: int) -> str:
    command = [*apart.prefix(service), sys.executable, "-c", CONNECT, host, str(port)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stderr or "no reason" if done.returncode else ""


@allowed
def test_relays_reach_the_model_server_and_nobody_else_does() -> None:
    """Also when the gateway's routes are turned to a relay that passes packets on, or to the host.

    The model server has no route to the gateway, so nothing that it answers finds a way back.
    """
    with Namespaces(PLAN.services) as apart:
        model = apart.addresses["model_server"]
        command = [sys.executable, "-c", LISTEN]
        servers = [
            subprocess.Popen([*apart.prefix(name), *command], stderr=subprocess.DEVNULL)
            for name in ("model_server", "relay-a")
        ]
        try:
            require_reached(apart, "relay-a", model.host, model.port)
            require_reached(apart, "relay-b", model.host, model.port)
            for name in ("gateway", "adversary"):
                require_reached(apart, name, apart.addresses["relay-a"].host, 8080)
                assert not reaches(apart, name, model.host, model.port)
            forward = ["sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"]
            subprocess.run([*apart.prefix("relay-a"), *forward], check=True)
            network = model.host.rpartition(".")[0] + ".0/24"
            here = apart.addresses["gateway"].host.rpartition(".")[0]
            for way in (apart.addresses["relay-a"].host, f"{here}.1"):
                inside = ["ip", "-n", apart.name("gateway"), "route", "replace", network, "via", way]
                subprocess.run(inside, check=True)
                assert not reaches(apart, "gateway", model.host, model.port)
        finally:
            for server in servers:
                server.kill()
                server.wait()


@allowed
def test_all_of_it_is_removed_also_when_making_it_fails(monkeypatch) -> None:
    with Namespaces(PLAN.services) as apart:
        assert len(ours(os.getpid())) == len(PLAN.services) + 1
        assert len(links(os.getpid())) == 2
        assert set(apart.addresses) == set(PLAN.services)
    assert not ours(os.getpid())
    assert not links(os.getpid())
    monkeypatch.setattr(namespaces, "_RELAYS", 300)  # no address ends so
    with pytest.raises(UserError, match=r"^ip: .*300"), Namespaces(PLAN.services):
        pass
    assert not ours(os.getpid())
    assert not links(os.getpid())


@allowed
def test_what_a_dead_process_left_is_removed_and_nothing_else() -> None:
    with subprocess.Popen([sys.executable, "-c", "pass"]) as gone:
        gone.wait()
    start = namespaces._started(os.getpid())
    left = [f"fedpriv-{gone.pid}-77-relay-a", f"fedpriv-{os.getpid()}-{int(start) + 1}-gateway"]
    kept = [f"fedpriv-{os.getpid()}-{start}-other", f"fedpriv-{gone.pid}", f"x-fedpriv-{gone.pid}-77-relay-a"]
    try:
        for name in (*left, *kept):
            subprocess.run(["ip", "netns", "add", name], check=True)
        assert set(left) <= abandoned()
        assert not set(kept) & abandoned()
        with Namespaces(("gateway",)):
            there = {each.name for each in Path("/run/netns").iterdir()}
            assert not set(left) & there
            assert set(kept) <= there
    finally:
        for name in (*left, *kept):
            subprocess.run(["ip", "netns", "del", name], stderr=subprocess.DEVNULL, check=False)


@pytest.mark.parametrize(
    ("lacking", "said"),
    [
        ("command", "there is no command ip"),
        ("right", "ip: mkdir /run/netns failed: Operation not permitted"),
    ],
)
def test_where_it_is_not_allowed_the_services_start_on_loopback_and_one_line_says_why(
    lacking, said, monkeypatch, capsys, tmp_path
) -> None:
    if lacking == "command":
        monkeypatch.setattr(namespaces.shutil, "which", lambda *_, **__: None)
    else:
        script = tmp_path / "ip"
        script.write_text(f"#!/bin/sh\necho '{said.removeprefix('ip: ')}' >&2\nexit 1\n")
        script.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    began = {}

    class Stopped(Exception):
        pass

    def start(self) -> None:
        began.update(addresses=self.plan.addresses, prefix=self._prefix)
        raise Stopped

    monkeypatch.setattr("fedpriv.relays.constellation.Constellation.start", start)
    before = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(Stopped):
            main(["relays", "up", "--namespaces", "--folder", str(tmp_path / "c")])
    finally:
        signal.signal(signal.SIGTERM, before)
    assert began == {"addresses": None, "prefix": None}
    error = capsys.readouterr().err
    assert error == f"fedpriv: --namespaces: {error.partition('--namespaces: ')[2]}"
    assert said in error
    assert error.endswith("on loopback ports instead\n")
    assert error.count("\n") == 1


@allowed
@pytest.mark.slow
def test_up_answers_through_namespaces_and_leaves_none_however_it_ends(tmp_path, capsys) -> None:
    Image.fromarray(np.arange(36 * 60, dtype=np.uint8).reshape(36, 60)).save(tmp_path / "eye.png")
    command = [sys.executable, "-m", "fedpriv.cli", "relays", "up", "--namespaces"]
    command += ["--relays", "2", "--shares", "2", "--folder", str(tmp_path / "c")]
    left = 0
    for number in (signal.SIGKILL, signal.SIGTERM):
        with subprocess.Popen(command, stdout=subprocess.PIPE) as running:
            assert running.stdout is not None
            while b"Ctrl-C" not in running.stdout.readline():
                assert running.poll() is None
            urls = Layout.read(tmp_path / "c").urls
            assert not any("127.0.0.1" in url for url in urls.values())
            assert ours(running.pid)
            if left:
                assert not ours(left)
            main(["relays", "submit", str(tmp_path / "eye.png"), "--folder", str(tmp_path / "c")])
            assert "gaze pitch" in capsys.readouterr().out
            running.send_signal(number)
            running.wait(30)
        assert bool(ours(running.pid)) == (number == signal.SIGKILL)
        left = running.pid
    assert not links(left)
