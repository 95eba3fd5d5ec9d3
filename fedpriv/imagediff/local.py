"""A server for one call: a process of its own on loopback, which gets no key but the public one."""

import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from fedpriv.errors import UserError
from fedpriv.services.logs import LISTENS

_END_S = 15.0
_TURN_S = 20.0
"""How long a call waits for its turn at a store: others take seconds, a server that stays has it for good."""


@contextlib.contextmanager
def local_server(store: Path | None = None) -> Iterator[str]:
    """Start a server, yield its URL, and end it; it ends by itself if this process is killed.

    Args:
        store: folder of its references, waited for while another call has it; None for none that stay.

    Raises:
        UserError: it does not start; with the last line that it wrote.
    """
    command = [sys.executable, "-P", "-m", "fedpriv.imagediff.serve", "--port", "0", "--until-eof"]
    with tempfile.TemporaryFile() as log, tempfile.TemporaryDirectory(prefix="imagediff-") as own:
        process = subprocess.Popen(
            [*command, "--store", str(store or own), "--wait", str(_TURN_S), "--log-level", "warning"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
        )
        try:
            assert process.stdout is not None  # noqa: S101 - a pipe was asked for
            line = process.stdout.readline().decode()
            if not line.startswith(LISTENS):
                process.wait(_END_S)
                log.seek(0)
                lines = log.read().decode(errors="replace").strip().splitlines()
                said = lines[-1].removeprefix("fedpriv: ") if lines else "it said nothing"
                if "another fedpriv imagediff has it" in said:
                    said += "; a server that has it can be named with --server"
                raise UserError(f"server on loopback: did not start: {said}")
            yield line.removeprefix(LISTENS).strip()
        finally:
            _end(process)


def _end(process: "subprocess.Popen[bytes]") -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()
    process.terminate()
    try:
        process.wait(_END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
