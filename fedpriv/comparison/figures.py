"""A comparison with all its digits: CSV, a line per group, and JSON, every run in it."""

import csv
import io
import json
import math
from typing import Any

from fedpriv.comparison.comparison import Comparison
from fedpriv.comparison.groups import Group
from fedpriv.comparison.statistics import Summary
from fedpriv.comparison.text import shown
from fedpriv.comparison.trials import STATES, Trial

_LONGEST = 1000
"""Characters of a setting's value."""
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def to_csv(found: Comparison) -> str:
    """Return a line per group after the names; empty where there is no value.

    Settings by dotted name; counts of runs by state; of each metric mean, deviation and number of seeds, and
    of its test difference, interval, pairs and p-values; costs. The last column, ``note``, holds all notes in
    every line, so that no line is read without them. Text that a spreadsheet would compute has a quotation
    mark before it.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    lines = [_flat(found, number) for number in range(len(found.groups))]
    writer.writerow([_cell(name) for name in (lines[0] if lines else {})])
    for line in lines:
        writer.writerow([_cell(value) for value in line.values()])
    return text.getvalue()


def to_json(found: Comparison) -> str:
    """Return the same as one JSON object, with every run; infinities and NaN are text, for JSON has none."""
    whole = {
        "title": found.title,
        "command": found.command,
        "metrics": [vars(metric) for metric in found.metrics],
        "groups": [
            {
                "label": each.label,
                **_flat(found, number, note=False),
                "runs": [_run(trial) for trial in each.counted],
                "repeated": [_run(trial) for trial in each.repeated],
            }
            for number, each in enumerate(found.groups)
        ],
        "without_settings": [_run(trial) for trial in found.unplaced],
        "notes": found.notes,
    }
    return json.dumps(_plain(whole), allow_nan=False, ensure_ascii=True)


def _flat(found: Comparison, number: int, note: bool = True) -> dict[str, Any]:
    each = found.groups[number]
    line: dict[str, Any] = {
        column.name: None if value is None else shown(value, _LONGEST)
        for column, value in zip(found.columns, each.values, strict=True)
    }
    line |= {"seeds": " ".join(str(trial.seed) for trial in each.counted), "runs": len(each.counted)}
    line |= {state: each.states.get(state, 0) for state in STATES}
    for metric in found.metrics:
        line |= _summary(metric.name, each.summary(metric.name))
        line |= {f"{metric.name}_{key}": value for key, value in _difference(found, number, metric.name)}
    line |= {"epsilon_spent": _epsilon(each), "reasons": "; ".join(_reasons(each))}
    line |= _summary("bytes_per_reply", each.cost(lambda trial: trial.bytes_per_reply))
    line |= _summary("bytes_up", each.cost(lambda trial: trial.bytes_up))
    line |= _summary("bytes_down", each.cost(lambda trial: trial.bytes_down))
    line |= _summary("bytes_keyholders", each.cost(lambda trial: trial.bytes_keyholders))
    line |= _summary("seconds", each.cost(lambda trial: trial.seconds))
    line |= _summary("round_seconds", each.cost(lambda trial: trial.round_seconds))
    return line | ({"note": " | ".join(found.notes)} if note else {})


def _difference(found: Comparison, number: int, metric: str) -> list[tuple[str, Any]]:
    test = next((test for test in found.tests if (test.group, test.metric) == (number, metric)), None)
    paired = None if test is None else test.paired
    return [
        ("against", None if test is None else found.groups[test.reference].label),
        ("difference_mean", None if paired is None else paired.difference),
        ("difference_low", None if paired is None else paired.low),
        ("difference_high", None if paired is None else paired.high),
        ("difference_pairs", 0 if paired is None else paired.n),
        ("difference_p", None if paired is None else paired.p),
        ("difference_p_holm", None if test is None else test.p_holm),
    ]


def _summary(name: str, found: Summary | None) -> dict[str, Any]:
    mean, deviation = (None, None) if found is None else (found.mean, found.deviation)
    return {f"{name}_mean": mean, f"{name}_sd": deviation, f"{name}_n": 0 if found is None else found.n}


def _epsilon(each: Group) -> float | None:
    return each.epsilon if each.finished else None


def _reasons(each: Group) -> list[str]:
    return [
        f"seed {shown(trial.seed or '?', 20)} {trial.state}: {trial.remark}"
        for trial in each.counted
        if trial.remark
    ]


def _run(trial: Trial) -> dict[str, Any]:
    return {
        "run_id": trial.run.run_id,
        "name": trial.run.name,
        "seed": trial.seed,
        "state": trial.state,
        "reason": trial.reason,
        "ended_early": trial.early,
        "last_round": trial.last_round,
        "rounds": trial.rounds,
        "metrics": dict(trial.values),
        "private": trial.epsilon is not None,
        "epsilon": trial.epsilon,
        "bytes_up": trial.bytes_up,
        "bytes_per_reply": trial.bytes_per_reply,
        "bytes_down": trial.bytes_down,
        "bytes_keyholders": trial.bytes_keyholders,
        "seconds": trial.seconds,
        "round_seconds": trial.round_seconds,
    }


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        return repr(value)
    try:
        float(value)
    except ValueError:
        return f"'{value}" if value.startswith(_FORMULA) else value
    return value
