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
from typing import Any

from tests.conftest import ROOT

Done = subprocess.CompletedProcess[str]
PROGRAMS = ("fedpriv", "fedpriv-data")
STREAMS = ("stdout", "stderr")


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
    with tempfile.TemporaryDirectory() as said:
        streams = {stream: Path(said, stream) for stream in STREAMS}
        for path in streams.values():
            path.touch()
        code = ask(program, arguments, folder, streams)
        return subprocess.CompletedProcess(
            [program, *arguments], code, *(path.read_text() for path in streams.values())
        )


def ask(
    program: str,
    arguments: Sequence[str],
    folder: Path,
    streams: dict[str, Path],
    *,
    begin: bool = False,
    spared: bool = True,
) -> int:
    """Have a command run in a fork: see ``command_forks``.

    Returns:
        Its exit code, or with ``begin`` the number of its process.
    """
    given = {
        "program": program,
        "arguments": list(arguments),
        "folder": str(folder),
        "environment": environment(),
        **{stream: str(path) for stream, path in streams.items()},
        "begin": begin,
        "spared": spared,
    }
    return int(_answer(given))


def exit_code(process: int) -> int | None:
    """Return that of a command that was begun, once, or None while it runs."""
    code = _answer({"process": process})
    return None if code is None else int(code)


def _answer(given: dict[str, Any]) -> Any:
    parent = _parent()
    assert parent.stdin is not None
    assert parent.stdout is not None
    parent.stdin.write(json.dumps(given) + "\n")
    return json.loads(parent.stdout.readline())


@functools.cache
def _parent() -> subprocess.Popen[str]:
    """Start it with the first command; importing takes it seconds of a core, so that one serves all."""
    kept = tempfile.TemporaryDirectory(prefix="fedpriv-forks-")
    atexit.register(kept.cleanup)
    parent = subprocess.Popen(
        [sys.executable, "-m", "tests.integration.command_forks", kept.name],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    )
    atexit.register(parent.__exit__, None, None, None)
    return parent
