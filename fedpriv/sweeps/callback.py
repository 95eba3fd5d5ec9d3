"""What Hydra calls before the first and after the last job of a sweep, and how its command ends."""

import sys
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from fedpriv.config.early_check import refusal
from fedpriv.config.explain import explain
from fedpriv.config.tracking_address import refusal_of_address
from fedpriv.errors import UserError
from fedpriv.sweeps import sweep
from fedpriv.sweeps.jobs import Job, grid_jobs, is_grid
from fedpriv.sweeps.keys import sweep_key
from fedpriv.sweeps.refusals import require_different, require_one_sweep
from fedpriv.sweeps.reuse import finished


class Sweeps(Callback):
    """Begins and ends the sweeps of Hydra's own sweeper; a search begins and ends its own.

    A Hydra callback, named in ``configs/config.yaml``. Hydra turns exceptions of callbacks into warnings, so
    a mistake ends the process here, with one line and status 2. A sweep of which every job is refused is
    one; where one job can begin, the others' refusals are theirs.
    """

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Find what there is to do; where that is nothing, end the command here."""
        try:
            if (said := refusal_of_address(config.tracking.get("uri") or "")) is not None:
                raise UserError(said)
            if not is_grid(config):
                return
            jobs = grid_jobs(config)
            require_one_sweep(config, jobs)
            require_different(jobs)
            _check(config, jobs)
            begun = sweep.begin(
                sweep.Sweep(
                    config,
                    "sweep",
                    sweep_key("sweep", (job.key for job in jobs)),
                    _name(jobs),
                    {job.number: job.key for job in jobs},
                    {job.number: job.settings for job in jobs},
                    jobs[0].config.tracking,
                    choices={job.number: job.choices for job in jobs},
                )
            )
            if begun.is_done:
                sys.exit(begun.end())
            if begun.runs is None:
                print("tracking=none: every job is run, none that was run before is known")  # noqa: T201
            begun.launch()
        except UserError as error:
            _refuse(str(error))
        except (HydraException, OmegaConfBaseException) as error:
            _refuse(explain(error))
        except OSError as error:
            _refuse(f"{error.filename or 'file'}: {error.strerror or error}; choose another place")
        except ValueError:
            return  # Hydra meets it again, and its command line explains it
        except Exception:
            traceback.print_exc()  # Hydra would make a warning of it, and launch
            _end_unlaunched()
            sys.exit(1)

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Close the sweep."""
        if is_grid(config) and sweep.current is not None and sweep.current.status is None:
            try:
                sweep.current.end()
            except UserError as error:
                _refuse(str(error))
            except Exception:
                traceback.print_exc()
                sys.exit(1)


@contextmanager
def launched() -> Iterator[None]:
    """Let the block be a command line; a sweep that it began ends with it, and sets its exit status."""
    try:
        yield
    except BaseException as error:
        begun = sweep.current
        if begun is None or begun.status is not None:
            raise
        begun.interrupt(error)
        if isinstance(error, Exception):
            sys.exit(1)
        raise
    begun = sweep.current
    # without a status it never came to its end, whatever swallowed the reason
    if begun is not None and begun.status != 0:
        sys.exit(1 if begun.status is None else begun.status)


def _check(config: DictConfig, jobs: list[Job]) -> None:
    """Refuse a sweep of which no job can begin; one that can is enough, and one that is finished is one.

    Raises:
        UserError: when every job is refused, with the first one's reason.
    """
    if _any_finished(jobs):
        return
    first = None
    for job in jobs:
        said = refusal(job.config)
        if said is None:
            break
        first = first or said
    else:
        raise UserError(first or "no job" if len(jobs) == 1 else f"all {len(jobs)} jobs are refused: {first}")
    if not str(config.hydra.launcher.get("_target_")).endswith(".BasicLauncher"):
        from fedpriv.config.datasets import forget_data

        forget_data()


def _any_finished(jobs: list[Job]) -> bool:
    tracking = jobs[0].config.tracking
    if not tracking.enabled:
        return False
    from fedpriv.tracking.store import locate
    from fedpriv.tracking.sweeps import SweepRuns, has_store

    if not has_store(tracking.uri):
        return False
    runs = SweepRuns(locate(tracking.uri), tracking.experiment)
    return any(finished(runs.job_runs(job.key), tracking) is not None for job in jobs)


def _name(jobs: list[Job]) -> str:
    # in the command's order: a set's changes from process to process
    values = Counter(
        each.partition("=")[0] for each in dict.fromkeys(e for job in jobs for e in job.settings)
    )
    return "sweep " + (" x ".join(f"{name}:{count}" for name, count in values.items()) or "of one job")


def _end_unlaunched() -> None:
    if sweep.current is not None and sweep.current.status is None:
        sweep.current.refuse()


def _refuse(message: str) -> NoReturn:
    _end_unlaunched()
    print(f"fedpriv: {message}", file=sys.stderr)  # noqa: T201
    sys.exit(2)
