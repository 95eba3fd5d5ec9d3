"""Ends a trial that is not worth going on with, from within its job, in any process."""

import json
import logging
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from hydra.conf import HydraConf

from fedpriv.errors import UserError
from fedpriv.results import RoundResult
from fedpriv.sweeps.job import Pruned
from fedpriv.sweeps.record import SweepRecord
from fedpriv.sweeps.search.settings import Settings

log = logging.getLogger("fedpriv")

NAME = "hydra_plugins.fedpriv.Search"
"""What configurations call the sweeper."""

_FILE, _MOST_BYTES = "search.json", 1 << 16


@dataclass(frozen=True)
class SearchRecord:
    """What a job must know to ask whether it is worth going on with, in the sweep's folder.

    Attributes:
        storage: address of the study's database.
        study: its name.
        metric: that rounds are judged by; the only objective.
        rounds: of a trial that does not vary them, which the pruner shares out.
        parent: the search's run in MLflow: what another search has left here is not this one's.
    """

    storage: str
    study: str
    metric: str
    rounds: int
    parent: str

    def write(self, folder: Path) -> None:
        """Write it under its name, whole, for its owner alone: an address may hold a password."""
        folder.mkdir(parents=True, exist_ok=True)
        temporary = folder / f".{_FILE}.{os.getpid()}"
        temporary.touch(0o600)
        temporary.write_text(json.dumps(asdict(self)))
        temporary.replace(folder / _FILE)

    @staticmethod
    def remove(folder: Path) -> None:
        """Remove what an earlier search has left."""
        (folder / _FILE).unlink(missing_ok=True)


def watcher(settings: HydraConf, rounds: int) -> Callable[[RoundResult], None] | None:
    """Return what hears of a trial's rounds and ends it by :class:`Pruned`; None where nothing is pruned.

    A storage that does not answer prunes nothing: that is only said.

    Args:
        settings: Hydra's for this job.
        rounds: of this job: none is ended in its last one.
    """
    sweeper: Any = settings.sweeper
    if sweeper.get("_target_") != NAME:
        return None
    path = Path(settings.runtime.cwd, str(settings.sweep.dir), _FILE)
    try:
        with path.open("rb") as file:
            record = SearchRecord(**json.loads(file.read(_MOST_BYTES)))
        parent = SweepRecord.read(path.parent).parent
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, UserError) as error:
        log.warning("%s: cannot be read (%s): this trial is not pruned", path, error)
        return None
    if record.parent != parent:
        log.warning("%s: is of another search: this trial is not pruned", path)
        return None
    return _Watcher(record, Settings.of(sweeper), int(settings.job.num), rounds).heard


class _Watcher:
    def __init__(self, record: SearchRecord, settings: Settings, number: int, rounds: int) -> None:
        self._record, self._settings, self._number, self._rounds = record, settings, number, rounds
        self._trial: Any = None

    def heard(self, result: RoundResult) -> None:
        value = result.metrics.get(self._record.metric)
        if result.number < 1 or value is None:  # round 0 is before training
            return
        try:
            worse = self._is_worse(result.number, value)
        except Exception as error:
            first = next(iter(str(error).splitlines()), "")
            log.warning("the study does not answer (%s): this trial goes on", first or type(error).__name__)
            return
        if worse and result.number < self._rounds:
            raise Pruned(
                f"{self._record.metric} {value:.6g} at round {result.number} of {self._rounds} "
                f"({self._settings.pruner})"
            )

    def _is_worse(self, number: int, value: float) -> bool:
        from fedpriv.sweeps.search.storage import quiet_optuna

        with quiet_optuna():
            if self._trial is None:
                self._trial = self._open()
            self._trial.report(value, number)
            return bool(self._trial.should_prune())

    def _open(self) -> Any:
        import optuna

        from fedpriv.sweeps.search.study import pruner_of

        record, storage = self._record, _storage(self._record.storage)
        study = optuna.load_study(
            study_name=record.study,
            storage=storage,
            sampler=optuna.samplers.RandomSampler(),
            pruner=pruner_of(self._settings, record.rounds),
        )
        of_study = storage.get_study_id_from_name(record.study)
        return optuna.Trial(study, storage.get_trial_id_from_study_id_trial_number(of_study, self._number))


@lru_cache(maxsize=1)
def _storage(uri: str) -> Any:
    """Connect once in a process that is given many jobs."""
    from fedpriv.sweeps.search.storage import connect

    return connect(uri)
