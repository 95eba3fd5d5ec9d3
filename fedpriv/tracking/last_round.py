"""Whether a metric of a run is of its last round: the store keeps the last value that was finite."""

import math
from collections.abc import Mapping

from fedpriv.tracking.histories import Curve, as_logged

ROUNDS = "clients_failed"
"""A metric that every round writes."""


def lack(metrics: Mapping[str, float], name: str, curve: Curve, last: int | None) -> str:
    """Say why a metric of a finished run does not count; empty if it does.

    What is not finite is never logged, and the store then keeps the last that was: the round tells.

    Args:
        metrics: the last value of each, as the store has it.
        name: of the metric.
        curve: of it, by round.
        last: round that was written; None where none was.
    """
    if name not in metrics:
        return "was not measured"
    value = as_logged(metrics[name])
    if not math.isfinite(value):
        return f"is {value}"
    if last is not None and curve and max(curve) < last:
        return f"is of round {max(curve)} of {last}: not finite, or not measured, after that"
    return ""
