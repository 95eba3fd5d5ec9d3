"""Which metrics runs are judged by, and which way is better."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fedpriv.comparison.text import shown
from fedpriv.errors import UserError
from fedpriv.tracking.queries import LoggedRun

BEFORE_TAGS = {
    "verification_accuracy": ("10-fold verification accuracy", False),
    "macro_f1": ("macro F1", False),
    "angular_error_deg": ("angular error (deg)", True),
    "accuracy": ("accuracy", False),
}
"""Metric to (label, lower is better), for runs that were logged without saying so.

Such a run is judged by the first of these that it has: emotions have an accuracy too.
"""

_PARTS = ("baseline_", "personal_before_", "personal_after_", "personal_local_")
_SUFFIXES = ("_min", "_max", "_sd", "_deviation", "_std")


@dataclass(frozen=True)
class Judged:
    """A metric.

    Attributes:
        name: in the store.
        label: for people, with its unit.
        lower_is_better: the sense of improvement; None where nothing says it.
        of_task: whether runs are judged by it; those of another task need not have it.
    """

    name: str
    label: str
    lower_is_better: bool | None
    of_task: bool = True

    @property
    def sense(self) -> str:
        """Say which way is better, empty where that is not known."""
        if self.lower_is_better is None:
            return ""
        return "lower is better" if self.lower_is_better else "higher is better"


def judged_by(run: LoggedRun) -> Judged | None:
    """Return the metric that a run says it is judged by (tag ``metric``), or is known to be; else None."""
    name = shown(run.tags.get("metric", ""), 250)
    if name:
        lower = {"true": True, "false": False}.get(run.tags.get("metric_lower_is_better", ""))
        return Judged(name, shown(run.tags.get("metric_label") or name, 60), lower)
    known = next((name for name in BEFORE_TAGS if name in run.metrics), None)
    return None if known is None else Judged(known, *BEFORE_TAGS[known])


def judged_in(
    runs: Sequence[LoggedRun], names: Sequence[str] = (), lower_is_better: bool | None = None
) -> list[Judged]:
    """Return the metrics to compare: those named, or those that the runs are judged by, each once.

    Args:
        runs: to be compared.
        names: chosen by the user, the one that matters first; none takes what the runs say.
        lower_is_better: of named metrics of which nothing says it; None leaves it open.

    Raises:
        UserError: when no run says what it is judged by, or none has a metric that was named.
    """
    said = list(dict.fromkeys(found for run in runs if (found := judged_by(run)) is not None))
    by_name = {metric.name: metric for metric in reversed(said)}
    if not names:
        if not by_name:
            raise UserError(
                f"compare: none of the {len(runs)} runs says what it is judged by; name it with --metric, "
                f"one of {_some(run.metrics for run in runs)}"
            )
        return [by_name[name] for name in dict.fromkeys(metric.name for metric in said)]
    chosen = []
    for name in dict.fromkeys(names):
        if not any(name in run.metrics for run in runs):
            raise UserError(
                f"--metric {name}: none of the {len(runs)} runs has it; name one of "
                f"{_some(run.metrics for run in runs)}"
            )
        chosen.append(by_name.get(name) or _named(name, by_name, lower_is_better))
    return chosen


def _named(name: str, said: dict[str, Judged], lower_is_better: bool | None) -> Judged:
    """Take the sense of a metric that is another one in its part, e.g. ``personal_after_accuracy``."""
    base = name
    for part in _PARTS:
        base = base.removeprefix(part)
    base = base.rpartition("/")[2]
    for suffix in _SUFFIXES:
        base = base.removesuffix(suffix)
    if lower_is_better is None and not name.endswith(("_sd", "_deviation", "_std")):
        known = said.get(base) or (Judged(base, *BEFORE_TAGS[base]) if base in BEFORE_TAGS else None)
        lower_is_better = None if known is None else known.lower_is_better
    return Judged(name, shown(name.replace("_", " "), 60), lower_is_better, of_task=False)


def _some(each: Iterable[Iterable[str]]) -> str:
    names = sorted({name for names in each for name in names})
    return ", ".join([*names[:12], *(["..."] if len(names) > 12 else [])]) or "none, for they have none"
