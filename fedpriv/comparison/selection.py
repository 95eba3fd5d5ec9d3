"""Which runs are compared: those of a sweep, of a name, of a tag, or that a filter finds."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from fedpriv.comparison.text import shown
from fedpriv.errors import UserError
from fedpriv.tracking.queries import LoggedRun

KIND, PARENT, MEMBER = "fedpriv_kind", "mlflow.parentRunId", "sweep."
"""Tags: of a run that stands for many, of a run below another, of a run in a sweep (with the sweep's id)."""

_KINDS = ("sweep", "search")
_SHORTEST = 6
"""Digits of a run's id that may stand for it."""


@dataclass(frozen=True)
class Selection:
    """What is compared.

    Attributes:
        runs: each once; in the order of its jobs where they are one sweep, else the oldest first.
        sweeps: whose runs these are, if they were chosen as such.
        notes: what a reader must know of the choice.
    """

    runs: list[LoggedRun]
    sweeps: list[LoggedRun]
    notes: list[str]


def select(
    runs: Sequence[LoggedRun],
    names: Sequence[str] = (),
    tags: Mapping[str, str] | None = None,
    among: Collection[str] | None = None,
) -> Selection:
    """Choose runs; without any wish, those of the sweep that was at work last, or all where there is none.

    Args:
        runs: of an experiment, the oldest first.
        names: of sweeps or runs, or their ids (:data:`_SHORTEST` digits are enough where they are unique);
            a name means all runs of that name.
        tags: that a run must have, with these values.
        among: ids that a filter has found; None: no filter.

    Raises:
        UserError: when there is nothing to compare, or a name means nothing or two sweeps.
    """
    members = _members(runs)
    sweeps: list[LoggedRun] = []
    notes: list[str] = []
    if names:
        chosen: dict[str, LoggedRun] = {}
        for name in names:
            for run in _called(runs, members, name):
                if run.run_id in members:
                    sweeps.append(run)
                    chosen |= {member.run_id: member for member in members[run.run_id]}
                else:
                    chosen[run.run_id] = run
    elif tags or among is not None or not members:
        chosen = {run.run_id: run for run in runs if run.run_id not in members}
        if not members and not tags and among is None:
            notes.append(f"there is no sweep: all {len(chosen)} runs of the experiment are compared")
    else:
        parent = max(
            (run for run in runs if run.run_id in members),
            key=lambda run: max(map(_last_at_work, [run, *members[run.run_id]])),
        )
        sweeps, chosen = [parent], {run.run_id: run for run in members[parent.run_id]}
    kept = [
        run
        for run in chosen.values()
        if (among is None or run.run_id in among)
        and all(run.tags.get(name) == value for name, value in (tags or {}).items())
    ]
    if not kept:
        raise UserError(f"compare: {_nothing(runs, sweeps, chosen)}")
    sweeps = list({sweep.run_id: sweep for sweep in sweeps}.values())
    notes += [said for sweep in sweeps for said in _jobs_said(sweep, members[sweep.run_id])]
    if len(kept) < len(chosen):
        notes.append(f"{len(kept)} of {len(chosen)} runs were chosen by tag or filter")
    if len(sweeps) == 1:
        kept.sort(key=lambda run: _job(sweeps[0], run))
    return Selection(kept, sweeps, notes)


def _members(runs: Sequence[LoggedRun]) -> dict[str, list[LoggedRun]]:
    """Return the runs of every sweep by the sweep's id; a run that others name as their parent is one too."""
    found: dict[str, list[LoggedRun]] = {run.run_id: [] for run in runs if run.tags.get(KIND) in _KINDS}
    known = {run.run_id for run in runs}
    for run in runs:
        parents = [name.removeprefix(MEMBER) for name in run.tags if name.startswith(MEMBER)]
        for parent in dict.fromkeys([*parents, run.tags.get(PARENT, "")]):
            if parent in known and parent != run.run_id and run.run_id not in found:
                found.setdefault(parent, []).append(run)
    return found


def _last_at_work(run: LoggedRun) -> int:
    return max(run.started, run.ended or 0)


def _job(sweep: LoggedRun, run: LoggedRun) -> tuple[int, int]:
    number = run.tags.get(f"{MEMBER}{sweep.run_id}", "")
    return (int(number), run.started) if number.isdecimal() and len(number) < 10 else (10**10, run.started)


def _called(runs: Sequence[LoggedRun], members: Mapping[str, list[LoggedRun]], name: str) -> list[LoggedRun]:
    found = [run for run in runs if run.run_id == name] or [run for run in runs if run.name == name]
    if not found and len(name) >= _SHORTEST:
        found = [run for run in runs if run.run_id.startswith(name)]
        if len(found) > 1:
            raise UserError(f"compare {name}: starts the ids of {len(found)} runs; write more of it")
    if not found:
        newest = ", ".join(
            f"{shown(run.name, 40)} ({run.run_id})" for run in reversed(runs) if run.run_id in members
        )
        raise UserError(
            f"compare {name}: no sweep and no run of this name or id; "
            + (f"sweeps, the newest first: {shown(newest, 300)}" if newest else "the experiment has no sweep")
        )
    sweeps = [run for run in found if run.run_id in members]
    if len(sweeps) > 1:
        ids = ", ".join(sweep.run_id for sweep in sweeps[-4:])
        raise UserError(f"compare {name}: {len(sweeps)} sweeps have this name; give an id, e.g. {ids}")
    return found


def _nothing(runs: Sequence[LoggedRun], sweeps: Sequence[LoggedRun], chosen: Collection[str]) -> str:
    if chosen:
        return f"tag or filter leaves none of {len(chosen)} runs; ask for less"
    if sweeps:
        return f"sweep {sweeps[0].run_id} has no runs yet; wait, or repeat its command"
    if runs:
        return "tag or filter finds no run; ask for less"
    return "the experiment has no runs; name another with --experiment, or run one"


def _jobs_said(sweep: LoggedRun, members: Sequence[LoggedRun]) -> list[str]:
    name = shown(sweep.name or sweep.run_id, 60)
    name = name if name.startswith(_KINDS) else f"sweep {name}"
    said = []
    if sweep.status == "RUNNING":
        said.append(f"{name} is still running, or was killed without a word")
    elif sweep.status == "KILLED":
        said.append(f"{name} was interrupted; its command, repeated, goes on with it")
    jobs = sweep.tags.get("sweep_jobs", "")
    if jobs.isdecimal() and len(jobs) < 10 and int(jobs) > len(members):
        missing = int(jobs) - len(members)
        said.append(f"{name}: {missing} of {jobs} jobs have no run: they have not started")
    return said
