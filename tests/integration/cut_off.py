"""Ends a run in the middle of a round; as a program: by SIGKILL of a process of its own.

Importing takes longer than such a run, so the program imports once and forks. It takes a JSON line for each
run on standard input, ``[folder, round, clients that answer in it before the end, *overrides]``, and answers
with the exit code.
"""

import importlib
import json
import os
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from fedpriv.config.compose import compose_run
from fedpriv.runner import run
from fedpriv.training.centralized import Centralized
from fedpriv.watch import Watch
from tests.composing import share
from tests.conftest import ROOT, TINY

BEFORE_MLFLOW = -1
IMPORTED = ("experiments.run", "opacus", "torch._dynamo")
"""What runs import on use, without a thread."""


def arm(patch: Callable[[Any, str, Any], None], number: int, answered: int, end: Callable[[], None]) -> None:
    """Let any run from now on end in round ``number`` once ``answered`` clients have answered in it.

    A centralized run ends when the round is trained and not yet kept. With ``BEFORE_MLFLOW`` the end
    comes between the checkpoint of the round and MLflow.
    """
    client_done = Watch.client_done

    def cut_between_clients(self: Watch, done: int, asked: int) -> None:
        client_done(self, done, asked)
        if len(self._history) == number and done == answered:
            end()

    patch(Watch, "client_done", cut_between_clients)
    close = Centralized._close

    def cut_before_keeping(self: Centralized, round_number: int, *given: Any) -> Any:
        if round_number == number:
            end()
        return close(self, round_number, *given)

    patch(Centralized, "_close", cut_before_keeping)
    if answered == BEFORE_MLFLOW:
        from fedpriv.tracking.mlflow_logger import RunLogger

        log_round = RunLogger.log_round

        def cut_before_mlflow(self: RunLogger, result: Any) -> None:
            if result.number == number:
                end()
            log_round(self, result)

        patch(RunLogger, "log_round", cut_before_mlflow)


@contextmanager
def killer() -> Iterator[Callable[..., None]]:
    """Give a function that lets a run kill its process (-9) where it is told to."""
    program = [sys.executable, "-m", "tests.integration.cut_off"]
    with subprocess.Popen(
        program, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None

        def kill(folder: Path, number: int, answered: int, *overrides: str) -> None:
            parent.stdin.write(json.dumps([str(folder), number, answered, *overrides]) + "\n")
            assert int(parent.stdout.readline()) == -signal.SIGKILL

        yield kill
        parent.stdin.close()


def serve(folder: str, number: int, answered: int, *overrides: str) -> None:
    """Run until the end comes."""
    os.dup2(2, 1)  # answers alone go to standard output
    arm(setattr, number, answered, lambda: os.kill(os.getpid(), signal.SIGKILL))
    run(compose_run(*overrides), [], Path(folder))


def main() -> None:
    """See the module."""
    torch.set_num_threads(1)
    for name in IMPORTED:
        importlib.import_module(name)
    share()
    compose_run(*TINY)
    if threading.active_count() != 1:
        raise RuntimeError(f"a fork would lose threads: {threading.enumerate()}")
    for line in sys.stdin:
        child = os.fork()
        if not child:
            try:
                serve(*json.loads(line))
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        os.write(1, f"{os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}\n".encode())


if __name__ == "__main__":
    main()
