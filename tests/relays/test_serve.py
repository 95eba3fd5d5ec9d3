"""A service as a process: it ends with its parent, and says in one line why it does not start."""

import os
import signal
import socket
import subprocess
import sys

import pytest

from fedpriv.cli import main
from fedpriv.relays.constellation import Constellation
from fedpriv.relays.keys import make_folder
from fedpriv.relays.plan import Plan

SERVE = [sys.executable, "-m", "fedpriv.relays.serve", "relay", "--settings"]


def test_a_service_whose_parent_went_while_it_started_ends(tmp_path) -> None:
    layout = make_folder(tmp_path / "c", Plan(relays=2, shares=2))
    parent = subprocess.Popen([sys.executable, "-c", ""])
    parent.wait()
    command = [*SERVE, str(layout.settings("relay-a")), "--with-parent", str(parent.pid)]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as orphan:
        orphan.communicate(timeout=60)
    assert orphan.returncode in (0, -signal.SIGTERM)


def test_a_port_that_is_taken_is_one_line_and_status_2(tmp_path) -> None:
    layout = make_folder(tmp_path / "c", Plan(relays=2, shares=2))
    port = int(layout.urls["relay-a"].rpartition(":")[2])
    with socket.create_server(("127.0.0.1", port)):
        found = subprocess.run([*SERVE, str(layout.settings("relay-a"))], capture_output=True, timeout=60)
    assert found.returncode == 2
    assert found.stderr.count(b"\n") == 1
    line = found.stderr.decode()
    assert line.startswith(f"fedpriv: {layout.settings('relay-a')}: ")
    assert f"host=127.0.0.1, port={port}: address already in use; " in line


def test_services_are_told_their_parent_by_its_number(tmp_path, monkeypatch) -> None:
    commands = []

    class Started:
        def __init__(self, command, **_) -> None:
            commands.append(command)

    monkeypatch.setattr(subprocess, "Popen", Started)
    constellation = Constellation(tmp_path / "c", Plan(relays=2, shares=2))
    constellation.layout = make_folder(tmp_path / "c", constellation.plan)
    constellation._spawn("relay-a")
    assert commands[0][-2:] == ["--with-parent", str(os.getpid())]


def test_help_names_the_command(capsys) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["relays", "serve", "--help"])
    assert caught.value.code == 0
    said = capsys.readouterr().out
    assert said.startswith("usage: fedpriv relays serve ")
    assert "fedpriv.relays.serve" not in said
