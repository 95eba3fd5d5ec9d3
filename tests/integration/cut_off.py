"""Ends a run in the middle of a round; as a program of ``command_forks``: by SIGKILL of its own process."""

import os
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from fedpriv.config.compose import compose_run
from fedpriv.runner import run
from fedpriv.training.centralized import Centralized
from fedpriv.watch import Watch
from tests.integration.forked import STREAMS, ask

BEFORE_MLFLOW = -1


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


def kill(folder: Path, number: int, answered: int, *overrides: str) -> None:
    """Let a run kill its process (-9) where it is told to."""
    with tempfile.TemporaryDirectory() as said:
        streams = {stream: Path(said, stream) for stream in STREAMS}
        for path in streams.values():
            path.touch()
        code = ask("cut-off", [str(folder), str(number), str(answered), *overrides], folder.parent, streams)
        assert code == -signal.SIGKILL, streams["stderr"].read_text()


def killed(arguments: list[str]) -> None:
    """Run until the end comes, as a program."""
    folder, number, answered, *overrides = arguments
    torch.set_num_threads(1)
    arm(setattr, int(number), int(answered), lambda: os.kill(os.getpid(), signal.SIGKILL))
    run(compose_run(*overrides), [], Path(folder))
