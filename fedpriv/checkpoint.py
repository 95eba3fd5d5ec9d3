"""A run on disk after every round: what it takes to go on after a crash, complete or not there."""

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from fedpriv import __version__
from fedpriv.arrays import read_npz
from fedpriv.errors import UserError
from fedpriv.privacy import accounting
from fedpriv.results import RoundResult
from fedpriv.training.party import ClientMemory
from fedpriv.types import AnyArray, FloatVector, Metrics

FORMAT = 2
_RUN, _STATE, _LOCK = "run.json", "state.npz", "lock"
_LONGEST_RUN = 1 << 22


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


@dataclass(frozen=True)
class Kept:
    """What those who train keep from round to round, besides the model.

    Attributes:
        arrays: the strategy's or the optimiser's own state.
        memories: what each party keeps to itself, by number.
        ended: no further round will be trained, because the privacy budget is spent.
        selection: the coordinates that the server chose to be encrypted, packed; None without such a choice.
            A resumed run keeps them, or others would be read in clear as well.
        lost_releases: with client-level privacy, clients in each sum that may have been opened when a run was
            cut off, as they are charged.
    """

    arrays: dict[str, AnyArray] = field(default_factory=dict)
    memories: dict[int, ClientMemory] = field(default_factory=dict)
    ended: bool = False
    selection: bytes | None = None
    lost_releases: tuple[int, ...] = ()


@dataclass(frozen=True)
class Snapshot:
    """A run after its last finished round.

    Attributes:
        history: every round, from round 0.
        parameters: the model.
        layout: digest of the parameters' names and shapes, 32 bytes.
        kept: what else is needed to go on.
    """

    history: list[RoundResult]
    parameters: FloatVector
    layout: bytes
    kept: Kept


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
        if (self.folder / _STATE).exists() and not self.record().finished:
            where = self.folder.parent
            raise UserError(
                f"{where}: holds an unfinished run; go on with `fedpriv resume {where}`, or name another "
                "folder (hydra.run.dir)"
            )

    def begin(self, record: RunRecord) -> None:
        """Write what does not change, and forget what a finished run left here."""
        (self.folder / _STATE).unlink(missing_ok=True)
        self._write_record(record)

    def finish(self, record: RunRecord) -> None:
        """Note that nothing is left to do."""
        self._write_record(RunRecord(**{**asdict(record), "finished": True}))

    def save(self, snapshot: Snapshot) -> None:
        """Replace the state by that of the round that has just been finished."""
        kept = snapshot.kept
        facts = {
            "history": [asdict(result) for result in snapshot.history],
            "privacy": {
                number: accounting.to_json(memory.history) for number, memory in kept.memories.items()
            },
            "ended": kept.ended,
            "lost_releases": kept.lost_releases,
        }
        arrays: dict[str, AnyArray] = {
            "parameters": snapshot.parameters,
            "layout": np.frombuffer(snapshot.layout, dtype=np.uint8),
            **{f"state/{name}": array for name, array in kept.arrays.items()},
            **{f"head/{n}": memory.head for n, memory in kept.memories.items() if memory.head is not None},
        }
        if kept.selection is not None:
            arrays["selection"] = np.frombuffer(kept.selection, dtype=np.uint8)
        # a damaged archive may miss an entry without any other sign of it
        facts["arrays"] = sorted(arrays)
        arrays["facts"] = np.frombuffer(json.dumps(facts).encode(), dtype=np.uint8)
        # numpy's names are positional or keyword: a dictionary keeps both out of each other's way
        self._replace(_STATE, lambda file: np.savez(file, allow_pickle=False, **arrays))

    def record(self) -> RunRecord:
        """Read what does not change.

        Raises:
            UserError: when there is no checkpoint, or one of another version, or a damaged one.
        """
        path = self.folder / _RUN
        try:
            with path.open("rb") as file:
                text = file.read(_LONGEST_RUN + 1)
        except (FileNotFoundError, NotADirectoryError):
            raise UserError(
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
            raise UserError(
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
        if not path.exists():
            raise UserError(
                f"{self.folder.parent}: the run ended before its first round; run the experiment again"
            )
        try:
            return _snapshot(read_npz(path))
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
        return UserError(f"{self.folder / name}: is damaged; run the experiment again")

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


def _snapshot(arrays: dict[str, AnyArray]) -> Snapshot:
    facts = json.loads(arrays["facts"].tobytes())
    if sorted({*arrays} - {"facts"}) != facts["arrays"]:
        raise ValueError("arrays are missing")
    history = [_round(item) for item in facts["history"]]
    if [result.number for result in history] != list(range(len(history))) or not history:
        raise ValueError("rounds are missing")
    parameters = _vector(arrays["parameters"])
    memories = {
        int(number): ClientMemory(history=accounting.from_json(text))
        for number, text in facts["privacy"].items()
    }
    for name, array in arrays.items():
        if name.startswith("head/"):
            memories[int(name.removeprefix("head/"))].head = _vector(array)
    lost = facts["lost_releases"]
    if type(lost) is not list or not all(type(count) is int and count > 0 for count in lost):
        raise ValueError("facts are of another type")
    if type(facts["ended"]) is not bool:
        raise ValueError("facts are of another type")
    return Snapshot(
        history=history,
        parameters=parameters,
        layout=arrays["layout"].tobytes(),
        kept=Kept(
            arrays={
                name.removeprefix("state/"): array
                for name, array in arrays.items()
                if name.startswith("state/")
            },
            memories=memories,
            ended=facts["ended"],
            selection=arrays["selection"].tobytes() if "selection" in arrays else None,
            lost_releases=tuple(lost),
        ),
    )


def _vector(array: AnyArray) -> FloatVector:
    if array.dtype != np.float32 or array.ndim != 1:
        raise ValueError("not a float32 vector")
    return array


def _round(item: dict[str, Any]) -> RoundResult:
    if item.keys() != {each.name for each in fields(RoundResult)}:
        raise ValueError("not a round")
    for name, value in item.items():
        if name in ("metrics", "seconds", "failures"):
            good = isinstance(value, dict) and all(type(each) in (int, float) for each in value.values())
        elif name in ("train_loss", "epsilon", "delta"):
            good = value is None or type(value) is float
        else:
            good = type(value) in (int, float)
        if not good:
            raise ValueError(f"{name} is of another type")
    return RoundResult(**item)
