"""Jobs that are no sweep together: refused before any of them begins."""

from collections.abc import Sequence

from omegaconf import DictConfig

from fedpriv.config.tracking_address import refusal_of_address
from fedpriv.errors import UserError
from fedpriv.sweeps.jobs import Job


def require_different(jobs: list[Job]) -> None:
    """Refuse jobs that compute the same: they would be one run, and count as two.

    Raises:
        UserError: naming the first two.
    """
    seen: dict[tuple[str, str], Job] = {}
    for job in jobs:
        first = seen.setdefault((job.key, str(job.config.tracking.experiment)), job)
        if first is not job:
            raise UserError(
                f"jobs {first.number} ({' '.join(first.settings)}) and {job.number} "
                f"({' '.join(job.settings)}) compute the same; vary what changes a result, once each"
            )


def require_one_sweep(config: DictConfig, jobs: Sequence[Job]) -> None:
    """Refuse jobs that belong to several sweeps: kept in several places, or each with a sweep of its own.

    Args:
        config: of the command, with Hydra's settings.
        jobs: one at least.

    Raises:
        UserError: naming the first job that is like that.
    """
    for job in jobs:
        what, tracking = " ".join(job.settings), job.config.tracking
        if (said := refusal_of_address(tracking.get("uri") or "")) is not None:
            raise UserError(said)
        own = job.config.hydra.sweeper
        if own != config.hydra.sweeper:
            varied = ", ".join(map(str, own.get("params") or {}))
            raise UserError(
                f"{what}: is a sweep of its own{f' over {varied}' if varied else ''}, not run beside "
                "others; give it alone, without a list of values"
            )
        first = jobs[0].config.tracking
        for name in ("enabled", "experiment", "uri"):
            ours, theirs = tracking.get(name), first.get(name)
            if ours != theirs:
                raise UserError(
                    f"jobs 0 and {job.number} ({what}) differ in tracking.{name} ({theirs}, {ours}); a sweep "
                    f"is kept in one place: give one tracking.{name}=..."
                )
