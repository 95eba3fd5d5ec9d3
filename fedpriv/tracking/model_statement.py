"""What a model says of its privacy: checked where it is read, as tags, and in words."""

import math
from collections.abc import Mapping
from typing import Any, NewType

from mlflow.entities import LoggedModel, Run

from fedpriv.errors import UserError
from fedpriv.privacy.rounded import at_most

Statement = NewType("Statement", dict[str, Any])
"""A statement of privacy that :func:`checked_statement` let pass."""

UNITS = ("none", "sample", "client")
"""Names of :class:`fedpriv.config.schema.PrivacyUnit`."""
_ONE_OF = {"unit": UNITS, "noise": ("secure", "fast"), "noise_by": ("clients", "server")}
_TEXTS = ("accountant", "relation", "data")
_LONGEST = 200


def checked_statement(run_id: str, stated: Mapping[str, Any]) -> Statement:
    """Return a statement of privacy whose values are what they are called.

    Guarantee:
        - epsilon is a number of at least 0, infinity among them, and None if and only if the unit is
          ``none``; delta is in [0, 1) with an epsilon, and None without.
        - unit, noise and noise_by are fedpriv's names for them, the other texts have at most 200 characters
          and none that moves a terminal's cursor. There is nothing else.

    Edge cases:
        A text that is missing, the unit apart, is None or not there.

    Raises:
        UserError: when it is otherwise: whoever writes to the store can have written it.
    """
    for name, value in stated.items():
        if name not in ("epsilon", "delta", *_ONE_OF, *_TEXTS):
            raise _refused(run_id, name, value, "nothing that fedpriv states")
        if value is not None and name in _ONE_OF and value not in _ONE_OF[name]:
            raise _refused(run_id, name, value, f"no {name}")
        if value is not None and name in _TEXTS and not _is_text(value):
            raise _refused(run_id, name, value, "no short text")
    unit, epsilon, delta = (stated.get(name) for name in ("unit", "epsilon", "delta"))
    if unit is None:
        raise _refused(run_id, "unit", unit, "no unit")
    if (epsilon is None) != (unit == "none"):
        raise _refused(run_id, "epsilon", epsilon, f"no epsilon of unit {unit}")
    if epsilon is not None and not _within(epsilon, math.inf):
        raise _refused(run_id, "epsilon", epsilon, "no epsilon")
    if (delta is None) != (epsilon is None) or (delta is not None and not _within(delta, 1.0 - 2**-53)):
        raise _refused(run_id, "delta", delta, "no delta")
    return Statement(dict(stated))


def require_epsilon_of(run: Run, statement: Statement) -> None:
    """Refuse a statement of another epsilon than the run's tag ``epsilon`` has, where it has one.

    Raises:
        UserError: when they differ.
    """
    tag, stated = run.data.tags.get("epsilon"), _bound(statement.get("epsilon"))
    if tag is not None and tag != stated:
        raise UserError(
            f"run_id={run.info.run_id}: its model states epsilon = {stated}, its tag says {tag[:40]!r}; "
            "choose a run that fedpriv logged"
        )


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= _LONGEST and value.isprintable()


def _within(value: Any, most: float) -> bool:
    # not a bool, which is an int, nor NaN, which is not at least 0
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= most


def _refused(run_id: str, name: Any, value: Any, what: str) -> UserError:
    return UserError(
        f"run_id={run_id}: its model states {str(name)[:40]} = {str(value)[:40]!r}, which is {what}; choose "
        "a run that fedpriv logged"
    )


def tags_of(
    run: Run, model: LoggedModel, statement: Statement, takes: str, value: float | None
) -> dict[str, str]:
    """Return what a model promises and how it was made; what is not known is left out.

    Args:
        run: that made it.
        model: as logged.
        statement: of its privacy.
        takes: its input, in words.
        value: of the run's metric after its last round; None where it was not measured then.
    """
    params, written = run.data.params, run.data.tags
    found: dict[str, Any] = {
        "epsilon": _bound(statement.get("epsilon")),
        "delta": _bound(statement.get("delta")),
        "privacy_unit": statement.get("unit"),
        "privacy_relation": statement.get("relation"),
        "privacy_accountant": statement.get("accountant"),
        "privacy_noise": statement.get("noise"),
        "privacy_noise_by": statement.get("noise_by"),
        "lifetime_epsilon": written.get("lifetime_epsilon"),
        "audit_refuted": written.get("audit_refuted"),
        "data": statement.get("data"),
        "data_id": written.get("data_id"),
        "task": params.get("task._target_"),
        "secure_scheme": params.get("secure.scheme"),
        "metric": written.get("metric"),
        "metric_value": value,
        "input": takes,
        "run_id": run.info.run_id,
        "model_id": model.model_id,
        "fedpriv_version": written.get("fedpriv_version"),
    }
    return {name: str(value) for name, value in found.items() if value not in (None, "")}


def in_words(run: Run, statement: Statement) -> str:
    """Say what a model promises, what it does not first."""
    data, epsilon, delta = statement.get("data"), statement.get("epsilon"), statement.get("delta")
    if epsilon is None:
        return f"NOT PRIVATE: trained on {data} without differential privacy; nothing is promised."
    words = []
    if math.isinf(epsilon):
        words.append("NOT PRIVATE: its epsilon is infinite, so nothing is promised.")
    if statement.get("noise") == "fast":
        words.append(
            "NOT PRIVATE: its noise is seeded (privacy.noise=fast), so it protects nobody: research only."
        )
    if run.data.tags.get("audit_refuted") == "true":
        words.append("NOT AS CLAIMED: the run's audit refuted its epsilon.")
    at = "" if delta is None else f" at delta = {at_most(delta)}"
    words.append(
        f"Trained on {data} with differential privacy: epsilon <= {at_most(epsilon)}{at} per "
        f"{statement.get('unit')} ({statement.get('relation')}), accountant {statement.get('accountant')}, "
        f"noise {statement.get('noise')}."
    )
    if statement.get("noise_by") == "server":
        words.append("Not against the server, which draws the noise.")
    return " ".join(words)


def _bound(value: float | None) -> str | None:
    return None if value is None else at_most(value, digits=6)
