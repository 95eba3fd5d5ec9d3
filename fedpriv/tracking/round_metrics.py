"""One round as named numbers."""

import math
from collections.abc import Mapping

from fedpriv.results import RoundResult
from fedpriv.tracking.params import clean_name


def round_metrics(result: RoundResult) -> dict[str, float]:
    """Name everything a round measured.

    Names: the task's metrics under their own, ``train_loss``, ``epsilon``, ``epsilon_reported``,
    ``delta``, ``bytes_up``, ``bytes_down``, ``bytes_keyholders``, ``bytes_keys``, ``update_bytes``,
    ``seconds_<phase>``,
    ``clients_asked``, ``clients_replied``, ``clients_failed``, ``clients_failed_<cause>``,
    ``clipped_fraction``, ``coarse_fraction``, ``clipping_norm``, ``within_clipping_norm``,
    ``secure_clear_fraction``.

    Guarantee:
        What was not measured (None) or is not finite is left out, never written as 0.

    Edge cases:
        ``update_bytes`` is left out of a round without replies: the median of nothing is not 0.
        ``secure_clear_fraction`` is left out unless encryption is selective, ``bytes_keys`` (and
        ``seconds_keys``) unless a committee made a key before the round, ``coarse_fraction`` where it is 0
        or updates are not quantised.
        ``clients_failed`` is the sum over causes, so a round without failures writes 0.
    """
    named: dict[str, float | None] = {
        **result.metrics,
        "train_loss": result.train_loss,
        "epsilon": result.epsilon,
        "epsilon_reported": result.epsilon_reported,
        "delta": result.delta,
        "bytes_up": result.bytes_up,
        "bytes_down": result.bytes_down,
        "bytes_keyholders": result.bytes_keyholders,
        "bytes_keys": result.bytes_keys or None,
        "update_bytes": result.update_bytes if result.replied else None,
        **{f"seconds_{phase}": value for phase, value in result.seconds.items()},
        "clients_asked": result.asked,
        "clients_replied": result.replied,
        "clients_failed": sum(result.failures.values()),
        **{f"clients_failed_{cause}": count for cause, count in result.failures.items()},
        "clipped_fraction": result.clipped_fraction,
        "coarse_fraction": result.coarse_fraction or None,
        "clipping_norm": result.clipping_norm,
        "within_clipping_norm": result.within_norm,
        "secure_clear_fraction": result.clear_fraction or None,
    }
    return finite(named)


def finite(named: Mapping[str, float | None]) -> dict[str, float]:
    """Clean the names and drop every value that is None, infinite or not a number."""
    return {
        clean_name(name): float(value)
        for name, value in named.items()
        if value is not None and math.isfinite(value)
    }
