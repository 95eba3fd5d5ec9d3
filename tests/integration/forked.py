"""One process for all tests of a worker, which runs fedpriv's commands in forks: see ``command_forks``."""

import atexit
import functools
import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.conftest import ROOT

Done = subprocess.CompletedProcess[str]
PROGRAMS = ("fedpriv", "fedpriv-data")


def environment() -> dict[str, str]:
    """That of the test, which names its cache and ledger, with the commands of this Python first."""
    return {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


def run_forked(command: str | Sequence[str], folder: Path) -> Done:
    """Run a command in a folder as a fresh process would, without importing everything again.

    Args:
        command: what a shell would be given, or its words; the first is one of ``PROGRAMS``.
        folder: where it is run; it holds nothing but what the command leaves.

    Guarantee:
        - The command sees the environment of the test that calls, and no state of another command.
        - Its standard output and error are apart, and standard input is at its end.
    """
    program, *arguments = shlex.split(command) if isinstance(command, str) else command
    if program not in PROGRAMS:
        raise ValueError(f"{program}: is run in a process of its own; name one of {', '.join(PROGRAMS)}")
    parent = _parent()
    assert parent.stdin is not None
    assert parent.stdout is not None
    with tempfile.TemporaryDirectory() as said:
        streams = {stream: f"{said}/{stream}" for stream in ("stdout", "stderr")}
        asked = {
            "program": program,
            "arguments": arguments,
            "folder": str(folder),
            "environment": environment(),
            **streams,
        }
        parent.stdin.write(json.dumps(asked) + "\n")
        code = int(parent.stdout.readline())
        return subprocess.CompletedProcess(
            [program, *arguments], code, *(Path(path).read_text() for path in streams.values())
        )


@functools.cache
def _parent() -> subprocess.Popen[str]:
    """Start it with the first command; importing takes it seconds of a core, so that one serves all."""
    parent = subprocess.Popen(
        [sys.executable, "-m", "tests.integration.command_forks"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**environment(), "PYTHONPATH": str(ROOT)},
        text=True,
        bufsize=1,
    )
    atexit.register(parent.__exit__, None, None, None)
    return parent
