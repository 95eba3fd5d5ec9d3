"""Runs and resumes experiments in forks of a process that has imported everything, to be killed from outside.

Importing takes ten times as long as a tiny run. As a program it takes a warm-up run's overrides as arguments,
then a JSON line for each fork on standard input, ``{"folder", "log", "overrides", "point"}``; null as
``overrides`` resumes the folder's run, and at a ``point`` of ``POINTS`` the fork kills itself. It answers
with the fork's process and, once that has ended, its exit code.
"""

import copy
import functools
import gc
import json
import logging
import os
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import torch
from mlflow import MlflowClient

from fedpriv.checkpoint import Checkpoint
from fedpriv.config.compose import compose_run
from fedpriv.config.schema import RunConfig
from fedpriv.errors import UserError
from fedpriv.federated import client
from fedpriv.runner import resume, run
from fedpriv.tracking import plots
from fedpriv.tracking.mlflow_logger import RunLogger
from tests.composing import share
from tests.schema_once import read_schema_once

NO_CHECKPOINT = 3
POINTS = {
    "before MLflow hears of it": (MlflowClient, "create_run", False),
    "when MLflow has it": (MlflowClient, "create_run", True),
    "before its id is noted": (Checkpoint, "note", False),
    "before its first state": (Checkpoint, "save", False),
    "between its first state and MLflow": (Checkpoint, "save", True),
    "when it is to be finished": (Checkpoint, "finish", False),
}
"""Where a run can be killed: a class, its method, and whether that has been carried out."""


def die_at(point: str) -> None:
    """Let this process be killed at a point."""
    owner, name, afterwards = POINTS[point]
    real = getattr(owner, name)

    def deadly(*given: Any, **named: Any) -> None:
        if afterwards:
            real(*given, **named)
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(owner, name, deadly)


def record_releases(log: Path) -> None:
    """Let every update that leaves a client from now on be a line ``process client round ms`` in ``log``."""
    train, file = client.train, os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def recorded(site: Any, number: int, request: Any, memory: Any) -> Any:
        reply = train(site, number, request, memory)
        os.write(file, f"{os.getpid()} {number} {request.round} {int(1000 * time.time())}\n".encode())
        return reply

    client.train = recorded  # type: ignore[assignment]


@functools.cache
def _base(*overrides: str) -> RunConfig:
    return compose_run(*overrides)


def composed(overrides: list[str]) -> RunConfig:
    """Compose a run; all but where it is tracked and charged, which come last, is composed once."""
    *same, uri, ledger = overrides
    config = copy.deepcopy(_base(*same))
    for place, given in ((config.tracking, uri), (config.privacy, ledger)):
        name, _, value = given.partition("=")
        setattr(place, name.partition(".")[2], value)
    return config


def serve(given: dict[str, Any]) -> None:
    """Run or resume as asked."""
    record_releases(Path(given["log"]))
    # curves are drawn after the last round, and take as long as two of these
    RunLogger.log_picture = lambda *_: None  # type: ignore[method-assign,assignment]
    for name in ("bytes_plot", "epsilon_plot", "metric_plot", "seconds_plot"):
        setattr(plots, name, lambda *_, **__: None)
    if given["point"] is not None:
        die_at(given["point"])
    folder = Path(given["folder"])
    if given["overrides"] is not None:
        run(composed(given["overrides"]), [], folder)
        return
    try:
        resume(folder)
    except UserError as error:
        if not any(text in str(error) for text in ("holds no checkpoint", "ended before its first round")):
            raise
        os._exit(NO_CHECKPOINT)


def say(answer: object) -> None:
    """Write one line to standard output."""
    os.write(1, f"{answer}\n".encode())


def main() -> None:
    """See the module."""
    torch.set_num_threads(1)
    logging.disable()
    share()
    read_schema_once()
    with tempfile.TemporaryDirectory() as folder:
        run(composed(sys.argv[1:]), [], Path(folder))
    if threading.active_count() != 1:
        raise RuntimeError(f"a fork would lose threads: {threading.enumerate()}")
    # a fork's collector would look at all this, and so copy it
    gc.collect()
    gc.freeze()
    # a run of a second leaves nothing that is worth looking for
    gc.disable()
    say("ready")
    for line in sys.stdin:
        child = os.fork()
        if not child:
            try:
                serve(json.loads(line))
            except BaseException:
                import traceback

                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        say(child)
        say(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


if __name__ == "__main__":
    main()
