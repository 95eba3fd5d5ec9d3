"""The cores of a machine divided among the jobs that run on it at the same time."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from fedpriv.cores import SHARE, available_cores


def jobs_at_once(launcher: Mapping[str, Any], jobs: int | None, cores: int) -> int:
    """Return how many jobs a launcher runs on this machine at the same time.

    Hydra's own launcher runs one. joblib runs ``n_jobs``, by its own rule: -1 is one for each core, -2 one
    less. submitit_local starts all of them. Under SLURM each job has the cores that it was given: one.

    Args:
        launcher: its settings, ``_target_`` among them.
        jobs: of the sweep; None where that is not known before.
        cores: of this machine that are ours.
    """
    target = str(launcher.get("_target_"))
    if target.endswith(".JoblibLauncher"):
        asked = int(launcher.get("n_jobs") or 1)
        at_once = asked if asked > 0 else max(1, cores + 1 + asked)
    elif target.endswith(".LocalLauncher"):
        at_once = cores if jobs is None else jobs
    else:
        at_once = 1
    return max(1, at_once if jobs is None else min(at_once, jobs))


@contextmanager
def share_of_cores(at_once: int) -> Iterator[int]:
    """Let what is started in the block use this process's share of the cores, where ``at_once`` jobs run.

    Training threads, worker processes and their threads all follow :func:`fedpriv.cores.available_cores`, so
    that together they are no more than the cores. What a user sets (``engine.workers``, ``engine.threads``)
    is as it is set.
    """
    before = os.environ.get(SHARE)
    share = max(1, available_cores() // at_once)
    os.environ[SHARE] = str(share)
    try:
        yield share
    finally:
        if before is None:
            del os.environ[SHARE]
        else:
            os.environ[SHARE] = before
