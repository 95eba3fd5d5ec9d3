"""Server and key holder as users run them, and commands in processes of their own, forked."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from fedpriv.services.outgoing import healthy
from tests.integration.forked import run_forked


def fedpriv(*arguments: object, folder: Path, status: int = 0) -> str:
    """Run a command to its end and return what it printed; its error output where it is to fail."""
    done = run_forked(["fedpriv", *map(str, arguments)], folder)
    assert done.returncode == status, (done.stdout, done.stderr)
    return done.stdout if status == 0 else done.stderr


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as bound:
        return int(bound.getsockname()[1])


@contextlib.contextmanager
def service(
    *arguments: object, folder: Path, ca: Path | None = None
) -> Iterator[tuple[str, subprocess.Popen]]:
    """Start ``fedpriv faces ...`` on a free port and end it by SIGTERM."""
    port = free_port()
    url = f"{'https' if ca else 'http'}://127.0.0.1:{port}"
    with (folder / f"{arguments[0]}.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "fedpriv.cli", "faces", *map(str, arguments), "--port", str(port)],
            cwd=folder,
            stdout=log,
            stderr=log,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
    try:
        until = time.monotonic() + 60
        while not healthy(url, ca):
            assert process.poll() is None, (folder / f"{arguments[0]}.log").read_text()
            assert time.monotonic() < until
            time.sleep(0.05)
        yield url, process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.wait(60)
