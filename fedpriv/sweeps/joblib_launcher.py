"""joblib's launcher, with which one process that is killed does not end the whole sweep."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra_plugins.hydra_joblib_launcher.joblib_launcher import JoblibLauncher  # type: ignore[import-untyped]

from fedpriv.sweeps import sweep


class Joblib(JoblibLauncher):  # type: ignore[misc]
    """Takes the place of ``hydra/launcher=joblib``.

    When one of its processes is killed, as by the system for lack of memory, joblib kills the others too and
    gives up. The job of the first is FAILED then, and all that have not ended are launched again; those that
    were under way go on after their last round.
    """

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run jobs, each to its end, its failure, or the death of its process.

        Guarantee:
            Every new launch has one job less to run: it ends.

        Raises:
            BrokenProcessPool: when a process died and it is not known whose job that ended.
        """
        from joblib.externals.loky.process_executor import (  # type: ignore[import-untyped]
            BrokenProcessPool,
        )

        # of all launches: what a job told in an earlier one may stand yet
        with _killed_by_joblib() as others:
            while True:
                try:
                    return list(super().launch(job_overrides, initial_job_idx))
                except BrokenProcessPool:
                    begun = sweep.current
                    if begun is None or not begun.go_on_without(others):
                        raise


def register() -> None:
    """Let Hydra make this launcher where joblib's is asked for."""
    name = f"{JoblibLauncher.__module__}.{JoblibLauncher.__qualname__}"
    Plugins.instance().class_name_to_class[name] = Joblib


@contextmanager
def _killed_by_joblib() -> Iterator[set[int]]:
    """Note which processes that still live joblib kills in the block.

    Nothing else tells them from the one that was killed first.
    """
    from joblib.externals.loky import process_executor  # type: ignore[import-untyped]

    noted: set[int] = set()
    kill: Callable[..., Any] = process_executor.kill_process_tree

    def note(process: Any, *rest: Any, **named: Any) -> Any:
        if process.exitcode is None:
            noted.add(process.pid)  # before, so that none is dead and not noted
        return kill(process, *rest, **named)

    process_executor.kill_process_tree = note
    try:
        yield noted
    finally:
        process_executor.kill_process_tree = kill
