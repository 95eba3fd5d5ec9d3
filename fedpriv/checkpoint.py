"""A run on disk after every round: what it takes to go on after a crash, complete or not there."""

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from fedpriv import __version__
from fedpriv.arrays import read_npz
from fedpriv.errors import StaleCheckpoint, UserError
from fedpriv.snapshot import Snapshot, from_arrays, to_arrays
from fedpriv.types import Metrics

FORMAT = 5
_RUN, _STATE, _LOCK = "run.json", "state.npz", "lock"
_LONGEST_RUN = 1 << 22
_MOST_ARRAYS = 1 << 20
"""Of a state: one for each client that keeps a head, besides a few."""


@dataclass(frozen=True)
class RunRecord:
    """What does not change during a run.

    Attributes:
        config: the resolved configuration; of keys it names the folder, if the user gave one.
        overrides: the command line that made it.
        data: fingerprint of the images' targets and identities.
        metric: name of the metric that the task is judged by.
        baseline: the task's metrics without learning.
        tracking_uri: the MLflow store; None without tracking.
        mlflow_run_id: the run in it.
        finished: whether nothing is left to do.
    """

    config: dict[str, Any]
    overrides: list[str]
    data: str
    metric: str
    baseline: Metrics
    tracking_uri: str | None = None
    mlflow_run_id: str | None = None
    finished: bool = False


class Checkpoint:
    """The folder ``checkpoint`` in a run's output folder: ``run.json`` and ``state.npz``.

    Guarantee:
        - After a crash at any moment ``state.npz`` is that of some finished round, whole: it is
          written beside, synced to disk and renamed.
        - Folder and files are the owner's alone (0700, 0600): heads and histories are the clients'
          secrets, which only a simulation has in one place.
        - One process at a time: :meth:`held` refuses a folder that a living run holds.
        - No key and no password is written. Nothing is unpickled.

    Edge cases:
        - A copy of the folder that is resumed too releases noise that neither copy knows of.
    """

    def __init__(self, folder: Path) -> None:
        """Name the run's output folder; nothing is touched."""
        self.folder = folder / "checkpoint"

    @property
    def begun(self) -> bool:
        """Whether there is a state: the run has come to a round, if only to round 0."""
        return (self.folder / _STATE).exists()

    @contextmanager
    def held(self) -> Iterator["Checkpoint"]:
        """Make the folder if need be and hold it in the block.

        Raises:
            UserError: when another process holds it.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o700)
        lock = os.open(self.folder / _LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UserError(f"{self.folder}: a run is under way there; wait for its end") from None
            yield self
        finally:
            os.close(lock)

    def require_free(self) -> None:
        """Refuse a folder that holds what an unfinished run could be resumed from.

        Raises:
            UserError: when there is such a run; its privacy history must not be lost unseen.
        """
        if self.begun and not self.record().finished:
            where = self.folder.parent
            raise UserError(
                f"{where}: holds an unfinished run; go on with `fedpriv resume {where}`, or name another "
                "folder (hydra.run.dir)"
            )

    def begin(self, record: RunRecord) -> None:
        """Write what does not change, and forget what a finished run left here."""
        (self.folder / _STATE).unlink(missing_ok=True)
        self._write_record(record)

    def note(self, record: RunRecord) -> None:
        """Replace what does not change by what is known now."""
        self._write_record(record)

    def finish(self, record: RunRecord) -> None:
        """Note that nothing is left to do."""
        self._write_record(RunRecord(**{**asdict(record), "finished": True}))

    def save(self, snapshot: Snapshot) -> None:
        """Replace the state by that of the round that has just been finished."""
        arrays = to_arrays(snapshot)
        # numpy's names are positional or keyword: a dictionary keeps both out of each other's way
        self._replace(_STATE, lambda file: np.savez(file, allow_pickle=False, **arrays))

    def record(self) -> RunRecord:
        """Read what does not change.

        Raises:
            UserError: when there is no checkpoint, or one of another version, or a damaged one.
        """
        path = self.folder / _RUN
        try:
            if path.is_fifo():  # whose reading would wait for a writer
                raise self._damaged(_RUN)
            with path.open("rb") as file:
                text = file.read(_LONGEST_RUN + 1)
        except (FileNotFoundError, NotADirectoryError):
            raise StaleCheckpoint(
                f"{self.folder.parent}: holds no checkpoint; name the output folder of a run"
            ) from None
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror}); check the file") from error
        try:
            found = json.loads(text)
            version, written_by = found.pop("format"), found.pop("version")
        except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
            raise self._damaged(_RUN) from None
        if (version, written_by) != (FORMAT, __version__):
            raise StaleCheckpoint(
                f"{path}: written by fedpriv {str(written_by)[:20]} (format {str(version)[:20]}), this is "
                f"{__version__} (format {FORMAT}); resume it with that version"
            )
        return self._checked_record(found)

    def load(self) -> Snapshot:
        """Read the state after the last finished round.

        Raises:
            UserError: when there is none yet, or it is damaged.
        """
        path = self.folder / _STATE
        if not self.begun:
            raise UserError(
                f"{self.folder.parent}: the run ended before its first round; resume it, or run the "
                "experiment again"
            )
        try:
            if path.is_fifo():
                raise self._damaged(_STATE)
            return from_arrays(read_npz(path, _MOST_ARRAYS))
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror}); check the file") from error
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise self._damaged(_STATE) from error

    def _checked_record(self, found: dict[str, Any]) -> RunRecord:
        kinds = {
            "config": dict,
            "overrides": list,
            "data": str,
            "metric": str,
            "baseline": dict,
            "tracking_uri": str | None,
            "mlflow_run_id": str | None,
            "finished": bool,
        }
        if found.keys() != kinds.keys() or not all(isinstance(found[name], kinds[name]) for name in kinds):
            raise self._damaged(_RUN)
        if not all(type(value) in (int, float) for value in found["baseline"].values()):
            raise self._damaged(_RUN)
        return RunRecord(**found)

    def _damaged(self, name: str) -> UserError:
        return StaleCheckpoint(f"{self.folder / name}: is damaged; run the experiment again")

    def _write_record(self, record: RunRecord) -> None:
        text = json.dumps({"format": FORMAT, "version": __version__, **asdict(record)}, indent=1)
        self._replace(_RUN, lambda file: file.write(text.encode()))

    def _replace(self, name: str, write: Callable[[BinaryIO], Any]) -> None:
        path, temporary = self.folder / name, self.folder / f"{name}.tmp"
        temporary.unlink(missing_ok=True)
        handle = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        folder = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
