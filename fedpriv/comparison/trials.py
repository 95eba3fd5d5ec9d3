"""One run as a comparison needs it: its state, what it reached, what it cost, and what it lacks."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

from fedpriv.comparison.choices import choices_in
from fedpriv.comparison.columns import effective
from fedpriv.comparison.judged import Judged, judged_by
from fedpriv.comparison.text import shown
from fedpriv.privacy.rounded import at_most
from fedpriv.tracking.histories import Curve, as_logged
from fedpriv.tracking.last_round import ROUNDS, lack
from fedpriv.tracking.queries import LoggedRun

State = Literal["finished", "failed", "killed", "pruned", "running", "scheduled"]
STATES: tuple[State, ...] = ("finished", "failed", "killed", "pruned", "running", "scheduled")

UP, REPLIES = "bytes_up", "clients_replied"
"""Metrics: bytes of all updates of a round, how many these were."""
DOWN, HOLDERS = "bytes_down", "bytes_keyholders"
"""Metrics: bytes of all models sent in a round, bytes to and from all key holders."""

_SECONDS, _EVALUATE = "seconds_", "seconds_evaluate"


@dataclass(frozen=True)
class Trial:
    """A run.

    Attributes:
        run: as the store has it.
        settings: what it was made with, see :func:`fedpriv.comparison.columns.effective`.
        state: what became of it.
        seed: as text; None where the run does not say.
        values: final value of each metric that counts: finite, of the last round, of a finished run.
        lacks: metric to why it does not count, of a finished run.
        epsilon: what the run says that it has spent, infinite where nothing bounds it; NaN for a private run
            that does not say; None without privacy.
        curves: each metric by round.
        bytes_up: of all updates of all rounds; None where none were logged.
        bytes_per_reply: of one client's update of one round, the mean over all; None likewise.
        seconds: wall seconds of all rounds on the server's clock, without start and end; None likewise.
        round_seconds: of one round without its evaluation, the median over rounds: the first ones of a
            process bear its imports and caches, and some rounds are not evaluated; None likewise.
        last_round: that was written; None where none was.
        rounds: that were asked for; None where the run does not say.
        bytes_down: of all models sent in all rounds; None where none were logged.
        bytes_keyholders: to and from all key holders, in all rounds; None likewise, 0 without key holders.
    """

    run: LoggedRun
    settings: Mapping[str, str]
    state: State
    seed: str | None
    values: Mapping[str, float]
    lacks: Mapping[str, str]
    epsilon: float | None
    curves: Mapping[str, Curve]
    bytes_up: float | None
    bytes_per_reply: float | None
    seconds: float | None
    round_seconds: float | None = None
    last_round: int | None = None
    rounds: int | None = None
    bytes_down: float | None = None
    bytes_keyholders: float | None = None

    @property
    def choices(self) -> dict[str, str]:
        """What the command chose of groups of the configuration, by group."""
        return choices_in(self.run.tags)

    @property
    def early(self) -> str:
        """Say that a finished run is of fewer rounds than were asked for, as one whose budget is used up."""
        if self.state != "finished" or self.last_round is None or self.rounds is None:
            return ""
        return (
            f"ended after round {self.last_round} of {self.rounds}" if self.last_round < self.rounds else ""
        )

    @property
    def remark(self) -> str:
        """Whatever keeps the run's figures from being those of a whole run, on one line."""
        return "; ".join(filter(None, [self.reason, self.early]))

    @property
    def reason(self) -> str:
        """Why the run does not count, on one line; empty where it does."""
        if self.state == "finished":
            return "; ".join(f"{shown(name, 60)} {why}" for name, why in self.lacks.items())
        return shown(self.run.tags.get("failure", ""), 200)

    @property
    def epsilon_text(self) -> str:
        """What the run says of its epsilon, rounded up, and of how much of it that is."""
        text = epsilon_text(self.epsilon)
        whole = self.run.tags.get("epsilon_is", "of the whole run") == "of the whole run"
        return text if self.epsilon is None or (whole and self.state == "finished") else f"{text} so far"


def epsilon_text(epsilon: float | None) -> str:
    """Write an epsilon, rounded up to three digits: ``2.99``, ``∞``, ``none`` without privacy."""
    if epsilon is None:
        return "none"
    if math.isnan(epsilon):
        return "not stated"
    return "∞" if math.isinf(epsilon) else at_most(epsilon)


def wanted_curves(run: LoggedRun, metrics: Sequence[Judged]) -> list[str]:
    """Return the metrics of a run whose rounds are needed to make a trial of it."""
    names = [*(metric.name for metric in metrics), ROUNDS, UP, REPLIES, DOWN, HOLDERS]
    return [name for name in dict.fromkeys([*names, *_phases(run)]) if name in run.metrics]


def trial_of(run: LoggedRun, metrics: Sequence[Judged], curves: Mapping[str, Curve]) -> Trial:
    """Read a run.

    Args:
        run: as the store has it.
        metrics: that runs are compared by.
        curves: of :func:`wanted_curves`.
    """
    state = state_of(run)
    last = max(curves.get(ROUNDS, {}), default=None)
    values: dict[str, float] = {}
    lacks: dict[str, str] = {}
    own = judged_by(run)
    for metric in metrics if state == "finished" else ():
        why = lack(run.metrics, metric.name, curves.get(metric.name, {}), last)
        if not why:
            values[metric.name] = run.metrics[metric.name]
        elif metric.name in run.metrics or not metric.of_task or own is None or own.name == metric.name:
            lacks[metric.name] = why
    up, replies = _total(curves.get(UP, {})), _total(curves.get(REPLIES, {}))
    seconds = [_total(curves.get(name, {})) for name in _phases(run)]
    known = [value for value in seconds if value is not None]
    return Trial(
        run=run,
        settings=effective(run.params),
        state=state,
        seed=run.params.get("seed", run.tags.get("seed")),
        values=values,
        lacks=lacks,
        epsilon=_epsilon(run),
        curves={metric.name: curves.get(metric.name, {}) for metric in metrics},
        bytes_up=up,
        bytes_per_reply=None if up is None or not replies else up / replies,
        seconds=sum(known) if known else None,
        round_seconds=_round_seconds([curves.get(name, {}) for name in _phases(run) if name != _EVALUATE]),
        last_round=last,
        rounds=_whole(run.params.get("federation.rounds", "")),
        bytes_down=_total(curves.get(DOWN, {})),
        bytes_keyholders=_total(curves.get(HOLDERS, {})),
    )


def state_of(run: LoggedRun) -> State:
    """Return what became of a run; one that a search stopped early is pruned, if not finished since."""
    if run.tags.get("search_state") == "pruned" and run.status != "FINISHED":
        return "pruned"
    states: dict[str, State] = {"FINISHED": "finished", "FAILED": "failed", "KILLED": "killed"}
    return states.get(run.status, "scheduled" if run.status == "SCHEDULED" else "running")


def _epsilon(run: LoggedRun) -> float | None:
    """Return what a run states: the tag is what holds (no metric is infinite) but is rounded up.

    Where the tag is the metric's, the metric is exact. Runs of earlier versions have no tag.
    """
    metric, said = run.metrics.get("epsilon"), run.tags.get("epsilon")
    if said is not None:
        try:
            epsilon = float(said)
        except ValueError:
            return math.nan
        exact = metric is not None and math.isfinite(metric) and at_most(metric, digits=6) == said
        return metric if exact else epsilon
    if metric is not None:
        return as_logged(metric)
    return None if run.tags.get("privacy_unit", "none") == "none" else math.nan


def _phases(run: LoggedRun) -> list[str]:
    phases = sorted(name for name in run.metrics if name.startswith(_SECONDS))
    # encryption is part of the clients' training
    return [name for name in phases if name != "seconds_encrypt" or "seconds_train" not in phases]


def _round_seconds(phases: Sequence[Curve]) -> float | None:
    rounds = {number for phase in phases for number in phase if number > 0}
    took = [sum(phase.get(number, 0.0) for phase in phases) for number in rounds]
    return median(took) if took and all(map(math.isfinite, took)) else None


def _whole(text: str) -> int | None:
    return int(text) if text.isdecimal() and len(text) < 10 else None


def _total(curve: Curve) -> float | None:
    values = [value for value in curve.values() if math.isfinite(value)]
    return sum(values) if values else None
