"""Begins fedpriv's commands side by side, in forks of a process that has imported everything.

A JSON line for each on standard input, ``{"arguments", "folder", "environment", "stdout", "stderr"}``; it
answers with the number of a new process, which leads a session of its own and ends as any process does,
handlers of its exit and all. ``{"process"}`` asks for the exit code of one, null while it runs. To what a
command starts by ``exec`` it is ``python -m fedpriv.cli``. A fork has the state of a fresh process, but that
the files of settings were read and need not be read again: see ``composing``.
"""

import gc
import importlib
import json
import os
import sys
import threading
from typing import Any

import fedpriv.cli
from fedpriv.config.compose import compose_run
from fedpriv.tracking.quiet import quiet_mlflow
from tests.composing import share
from tests.integration.command_forks import IMPORTED, serve


def begin(given: dict[str, Any]) -> int:
    """Fork a process that runs the command as asked, and return its number here."""
    streams = [os.open(given[stream], os.O_WRONLY) for stream in ("stdout", "stderr")]
    child = os.fork()
    if not child:
        os.setsid()
        os.environ.clear()
        os.environ.update(given["environment"])
        for number, stream in enumerate((os.open(os.devnull, os.O_RDONLY), *streams)):
            os.dup2(stream, number)
            os.close(stream)
        sys.modules["__main__"] = fedpriv.cli
        sys.exit(serve({**given, "stdout": "/dev/fd/1", "stderr": "/dev/fd/2"}))
    for stream in streams:
        os.close(stream)
    return child


def ended(process: int) -> int | None:
    """Return the exit code of a fork, once, or None while it runs."""
    found, status = os.waitpid(process, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if found else None


def main() -> None:
    """See the module."""
    with quiet_mlflow():
        for name in IMPORTED:
            importlib.import_module(name)
    share()
    compose_run()
    if threading.active_count() != 1:
        raise RuntimeError(f"a fork would lose threads: {threading.enumerate()}")
    # a fork's collector would look at all this, and so copy it
    gc.collect()
    gc.freeze()
    for line in sys.stdin:
        given = json.loads(line)
        answer = ended(given["process"]) if "process" in given else begin(given)
        os.write(1, f"{json.dumps(answer)}\n".encode())


if __name__ == "__main__":
    main()
