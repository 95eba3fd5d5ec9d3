"""Runs fedpriv's commands in forks of a process that has imported everything, which takes longer than a run.

Its argument is an empty folder. It takes a JSON line for each on standard input, ``{"program", "arguments",
"folder", "environment", "stdout", "stderr", "begin", "spared"}``, and answers with the exit code. What it
only begins leads a session of its own and runs the handlers of its exit; the answer is its number, and
``{"process"}`` asks for its exit code, null while it runs. To what a command starts by ``exec`` it is
``python -m fedpriv.cli``.

A fork has the state of a fresh process: nothing but imports has happened before it, but that the files of
settings and MLflow's migrations were read and need not be read again: see ``composing`` and ``schema_once``.
With ``spared`` see there.
"""

import gc
import importlib
import json
import os
import sys
import threading
import traceback
from pathlib import Path
from typing import Any

import fedpriv.cli
from data_tools.cli import main as fedpriv_data
from fedpriv.config.compose import compose_run
from fedpriv.tracking.quiet import quiet_mlflow
from tests.composing import share
from tests.integration import cut_off, spared
from tests.schema_once import read_schema_once

IMPORTED = (
    "alembic.command",
    "experiments.run",
    "fedpriv.console.progress",
    "fedpriv.console.summary",
    "fedpriv.data.synthetic_eyes",
    "fedpriv.federated.engines.launch",
    "fedpriv.federated.server_app",
    "fedpriv.he.ckks",
    "fedpriv.he.committee",
    "fedpriv.models.gaze_cnn",
    "fedpriv.runner",
    "fedpriv.tasks.gaze",
    "fedpriv.tracking.mlflow_logger",
    "fedpriv.tracking.partition_plot",
    "fedpriv.tracking.plots",
    "fedpriv.trainers",
    "joblib",
    "mlflow.pyfunc",
    "mlflow.pytorch",
    "mlflow.store.tracking.sqlalchemy_store",
    "opacus",
    "sqlalchemy.dialects.sqlite",
    "sympy.tensor.tensor",
    "torch._dynamo",
    "torch.export._trace",
    "torch.export.pt2_archive._package",
)
"""What commands import on use, without a thread."""

PROGRAMS = {"fedpriv": fedpriv.cli.main, "fedpriv-data": fedpriv_data, "cut-off": cut_off.killed}


def serve(given: dict[str, Any], kept: Path) -> int:
    """Run the command as asked and return its exit code."""
    os.chdir(given["folder"])
    os.environ.clear()
    os.environ.update(given["environment"])
    code: object = 0
    try:
        if given["spared"]:
            spared.use(given["arguments"], kept)
        PROGRAMS[given["program"]](given["arguments"])
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    return code if isinstance(code, int) else int(code is not None)


def begin(given: dict[str, Any], kept: Path) -> int:
    """Fork a process that runs the command as asked, and return its number here."""
    streams = [os.open(os.devnull, os.O_RDONLY)]
    streams += [os.open(given[stream], os.O_WRONLY) for stream in ("stdout", "stderr")]
    child = os.fork()
    if not child:
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        if not given["begin"]:
            os._exit(serve(given, kept))
        os.setsid()
        sys.modules["__main__"] = fedpriv.cli
        spared.leave(serve(given, kept))
    for stream in streams:
        os.close(stream)
    return child


def ended(process: int, options: int = 0) -> int | None:
    """Return the exit code of a fork, once, or None while it runs."""
    found, status = os.waitpid(process, options)
    return os.waitstatus_to_exitcode(status) if found else None


def answer(given: dict[str, Any], kept: Path) -> int | None:
    """See the module."""
    if "process" in given:
        return ended(given["process"], os.WNOHANG)
    child = begin(given, kept)
    return child if given["begin"] else ended(child)


def main() -> None:
    """See the module."""
    with quiet_mlflow():
        for name in IMPORTED:
            importlib.import_module(name)
    share()
    read_schema_once()
    compose_run()
    if threading.active_count() != 1:
        raise RuntimeError(f"a fork would lose threads: {threading.enumerate()}")
    # a fork's collector would look at all this, and so copy it
    gc.collect()
    gc.freeze()
    kept = Path(sys.argv[1])
    for line in sys.stdin:
        os.write(1, f"{json.dumps(answer(json.loads(line), kept))}\n".encode())


if __name__ == "__main__":
    main()
