"""What a registered model says of itself: tags, and its privacy in words."""

import math
from collections.abc import Mapping
from typing import Any

from mlflow.entities import LoggedModel, Run

from fedpriv.errors import UserError
from fedpriv.privacy.rounded import at_most
from fedpriv.tracking.model_loading import ModelDescription


def require_statement(run_id: str, statement: Mapping[str, Any]) -> None:
    """Refuse a statement whose bounds are none: whoever writes to the store can have written it.

    Raises:
        UserError: when epsilon or delta is there and no number of at least 0, or delta above 1.
    """
    for name, most in (("epsilon", math.inf), ("delta", 1.0)):
        value = statement.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
            raise UserError(
                f"run_id={run_id}: its model states {name} = {str(value)[:40]!r}, which is no {name}; choose "
                "a run that fedpriv logged"
            )


def tags_of(run: Run, model: LoggedModel, described: ModelDescription, value: float | None) -> dict[str, str]:
    """Return what a model promises and how it was made; what is not known is left out.

    Args:
        run: that made it.
        model: as logged.
        described: what is written beside it.
        value: of the run's metric after its last round; None where it was not measured then.
    """
    statement, params, written = described.statement, run.data.params, run.data.tags
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
        "input": f"{described.dtype} (B, {', '.join(map(str, described.in_shape))})",
        "run_id": run.info.run_id,
        "model_id": model.model_id,
        "fedpriv_version": written.get("fedpriv_version"),
    }
    return {name: str(value) for name, value in found.items() if value not in (None, "")}


def in_words(run: Run, statement: Mapping[str, Any]) -> str:
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


def _bound(value: Any) -> str | None:
    return at_most(value, digits=6) if isinstance(value, (int, float)) else None
