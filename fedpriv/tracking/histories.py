"""What a store says of runs round by round, and files that are added to a run later."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from mlflow.exceptions import MlflowException

from fedpriv.errors import UserError
from fedpriv.tracking.queries import reading
from fedpriv.tracking.secrets import hide_in_text

Curve = dict[int, float]
"""Round to value."""

_LARGEST = 1.7976931348623157e308
"""What MLflow keeps in a database for infinity (the largest float64)."""


def curves_of(uri: str | None, wanted: Mapping[str, Sequence[str]]) -> dict[str, dict[str, Curve]]:
    """Return metrics of runs as they were logged, by run, name and round.

    Guarantee:
        Infinity, which MLflow's databases keep as the largest number, is infinity again.

    Edge cases:
        What was written twice for a round, as after an interruption, is what was written last.

    Args:
        uri: tracking URI, as for :func:`fedpriv.tracking.store.locate`.
        wanted: run to names of metrics; one that a run has not is empty.

    Raises:
        UserError: when the store does not exist or does not answer.
    """
    with reading(uri) as client:
        return {
            run_id: {
                name: {
                    entry.step: as_logged(entry.value)
                    for entry in sorted(
                        client.get_metric_history(run_id, name), key=lambda entry: entry.timestamp
                    )
                }
                for name in names
            }
            for run_id, names in wanted.items()
        }


def as_logged(value: float) -> float:
    """Return infinity where a database has the largest number in its place."""
    return math.copysign(math.inf, value) if abs(value) >= _LARGEST else float(value)


def add_files(uri: str | None, run_id: str, folder: Path, place: str) -> None:
    """Copy the files of a folder to a run, as artifacts ``place/<name>``; those of the same names go.

    The state of the run stays.

    Raises:
        UserError: when the store, the run or the place of its artifacts does not take them.
    """
    with reading(uri) as client:
        try:
            client.log_artifacts(run_id, str(folder), place)
        except (OSError, MlflowException) as error:
            reason = hide_in_text(str(error).partition("\n")[0], ())[:200]
            raise UserError(
                f"run {run_id}: took no files ({reason}); give --no-log, or mend its store"
            ) from error
