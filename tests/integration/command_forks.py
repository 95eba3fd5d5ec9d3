"""Runs fedpriv's commands in forks of a process that has imported everything, which takes longer than a run.

A JSON line for each on standard input, ``{"arguments", "folder", "stdout", "stderr"}``; it answers with the
exit code. With ``program`` it is another one than ``fedpriv``, with ``environment`` that is its own.
A fork has the state of a fresh process: nothing but imports has happened before it.
"""

import gc
import importlib
import json
import os
import sys
import threading
import traceback
from typing import Any

from data_tools.cli import main as fedpriv_data
from fedpriv.cli import main as fedpriv
from fedpriv.tracking.quiet import quiet_mlflow

IMPORTED = (
    "experiments.run",
    "fedpriv.tracking.mlflow_logger",
    "fedpriv.tracking.plots",
    "mlflow.pytorch",
    "mlflow.store.tracking.sqlalchemy_store",
    "torch._dynamo",
)
PROGRAMS = {"fedpriv": fedpriv, "fedpriv-data": fedpriv_data}


def serve(given: dict[str, Any]) -> int:
    """Run the command as asked and return its exit code."""
    os.chdir(given["folder"])
    if "environment" in given:
        os.environ.clear()
        os.environ.update(given["environment"])
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    for stream, number in (("stdout", 1), ("stderr", 2)):
        file = os.open(given[stream], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(file, number)
        os.close(file)
    code: object = 0
    try:
        PROGRAMS[given.get("program", "fedpriv")](given["arguments"])
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    return code if isinstance(code, int) else int(code is not None)


def main() -> None:
    """See the module."""
    with quiet_mlflow():
        for name in IMPORTED:
            importlib.import_module(name)
    if threading.active_count() != 1:
        raise RuntimeError(f"a fork would lose threads: {threading.enumerate()}")
    # a fork's collector would look at all this, and so copy it
    gc.collect()
    gc.freeze()
    for line in sys.stdin:
        child = os.fork()
        if not child:
            os._exit(serve(json.loads(line)))
        os.write(1, f"{os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}\n".encode())


if __name__ == "__main__":
    main()
