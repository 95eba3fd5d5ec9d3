"""What every job of a sweep must know, in the sweep's folder: jobs may run in any process, on any machine."""

import fcntl
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fedpriv.errors import UserError
from fedpriv.sweeps.processes import Process

_NAME, _MOST_BYTES = "sweep.json", 1 << 24
_LOCK = ".lock"


@dataclass(frozen=True)
class SweepRecord:
    """A sweep as its jobs know it.

    Attributes:
        parent: its run in MLflow; None without tracking.
        uri: address of the store from anywhere; None without tracking.
        experiment: that all its runs are in.
        at_once: how many jobs share a machine.
        launcher: that no job outlives; None where jobs do (SLURM).
        finished: of jobs that needed no computing when the sweep began: their reports by number.
    """

    parent: str | None
    uri: str | None
    experiment: str
    at_once: int
    launcher: Process | None
    finished: dict[str, dict[str, Any]]

    @staticmethod
    def take(folder: Path) -> int:
        """Take a folder for one sweep, until the descriptor that is returned is closed or the process ends.

        Raises:
            UserError: when another sweep is under way there: their jobs would take each other's places.
        """
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / _LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise UserError(
                f"hydra.sweep.dir={folder}: another sweep is under way there; name another folder, or wait"
            ) from None
        return lock

    def write(self, folder: Path) -> None:
        """Write it under its name, whole."""
        folder.mkdir(parents=True, exist_ok=True)
        temporary = folder / f".{_NAME}.{os.getpid()}"
        temporary.write_text(json.dumps(asdict(self), indent=1))
        temporary.replace(folder / _NAME)

    @classmethod
    def read(cls, folder: Path) -> "SweepRecord":
        """Read it.

        Raises:
            UserError: when it is missing or damaged.
        """
        path = folder / _NAME
        try:
            with path.open("rb") as file:
                found = json.loads(file.read(_MOST_BYTES))
            launcher = found.pop("launcher")
            return cls(launcher=None if launcher is None else Process(**launcher), **found)
        except OSError as error:
            raise UserError(
                f"{path}: {error.strerror or error}; start the sweep with fedpriv run -m"
            ) from error
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise UserError(f"{path}: is damaged; start the sweep again") from error
