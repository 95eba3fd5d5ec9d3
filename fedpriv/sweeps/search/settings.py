"""What a search is told besides its space: group ``hydra/sweeper=search``."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fedpriv.errors import UserError

SAMPLERS, PRUNERS = ("tpe", "random"), ("median", "hyperband", "none")
_FIELD = "hydra.sweeper"


@dataclass(frozen=True)
class Settings:
    """Settings of a search, checked.

    Attributes:
        n_trials: how many trials the study has in the end, those of earlier commands among them.
        n_jobs: trials that are asked for before any of them is told; None is as many as run at once.
        objectives: ``task``, ``epsilon``, ``bytes``, ``seconds``, or ``metric:minimize`` and the like.
        sampler: one of :data:`SAMPLERS`.
        seed: of the sampler.
        startup_trials: drawn at random before the sampler follows what was found.
        pruner: one of :data:`PRUNERS`.
        pruner_startup_trials: complete trials before any is pruned (median).
        pruner_warmup_rounds: rounds of a trial before it may be pruned.
        storage: address of the study's database; None is ``searches.db`` beside MLflow's.
        study_name: None makes one of what is searched.
    """

    n_trials: int
    n_jobs: int | None
    objectives: tuple[str, ...]
    sampler: str
    seed: int
    startup_trials: int
    pruner: str
    pruner_startup_trials: int
    pruner_warmup_rounds: int
    storage: str | None
    study_name: str | None

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> "Settings":
        """Check settings as they were composed.

        Raises:
            UserError: naming the first that is impossible.
        """
        sampler, pruner = plain["sampler"], plain["pruner"]
        for name, group in (("sampler", sampler), ("pruner", pruner)):
            if not isinstance(group, Mapping):
                raise UserError(f"{_FIELD}.{name}={group}: is a group; write {_FIELD}.{name}.name={group}")
        objectives = plain["objectives"]
        if isinstance(objectives, str) or not isinstance(objectives, Sequence) or not objectives:
            raise UserError(
                f"{_FIELD}.objectives={objectives}: needs a list in brackets, e.g. [task,epsilon]"
            )
        n_jobs = plain["n_jobs"]
        return cls(
            n_trials=_whole("n_trials", plain["n_trials"], 1),
            n_jobs=None if n_jobs is None else _whole("n_jobs", n_jobs, 1),
            objectives=tuple(str(each) for each in objectives),
            sampler=_one_of("sampler.name", sampler["name"], SAMPLERS),
            seed=_whole("sampler.seed", sampler["seed"], 0),
            startup_trials=_whole("sampler.startup_trials", sampler["startup_trials"], 1),
            pruner=_one_of("pruner.name", pruner["name"], PRUNERS),
            pruner_startup_trials=_whole("pruner.startup_trials", pruner["startup_trials"], 0),
            pruner_warmup_rounds=_whole("pruner.warmup_rounds", pruner["warmup_rounds"], 1),
            storage=_text("storage", plain["storage"]),
            study_name=_text("study_name", plain["study_name"]),
        )


def _whole(name: str, value: Any, least: int) -> int:
    if type(value) is not int or value < least:
        raise UserError(f"{_FIELD}.{name}={value}: needs a whole number of at least {least}")
    return value


def _one_of(name: str, value: Any, known: Sequence[str]) -> str:
    if value is None and "none" in known:
        return "none"
    if value not in known:
        raise UserError(f"{_FIELD}.{name}={value}: choose one of {', '.join(known)}")
    return str(value)


def _text(name: str, value: Any) -> str | None:
    if value is None:
        return None
    text = str(value)
    if not text.strip() or not text.isprintable() or len(text) > 500:
        raise UserError(f"{_FIELD}.{name}={text[:80]}: needs a text of one line, or null")
    return text
