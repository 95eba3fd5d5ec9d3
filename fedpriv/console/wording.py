"""How numbers, sizes, durations and rounds are written for people."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from fedpriv.privacy.rounded import at_least, at_most
from fedpriv.results import RoundResult

if TYPE_CHECKING:  # a command that words neither is not to wait for what they import
    from fedpriv.privacy.audit_verdict import Verdict
    from fedpriv.privacy.purse import Lifetime


def number_text(value: float) -> str:
    """Write a number with four significant digits: 9.123, 0.8125, 1.2e-05."""
    return f"{value:.4g}"


def bytes_text(size: float) -> str:
    """Write bytes with a decimal unit: 812 B, 31.4 kB, 1.25 MB."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        # 999,950 bytes read 1 MB, not 1000 kB: what three digits round up to takes the next unit.
        if size >= 0.9995 * scale:
            return f"{size / scale:.3g} {unit}"
    return f"{size:.0f} B"


def seconds_text(seconds: float) -> str:
    """Write a duration: 0.042 s, 12.3 s, 1:02:03 from ten minutes on."""
    return clock_text(seconds) if seconds >= 600 else f"{seconds:#.3g} s".replace(". s", " s")


def clock_text(seconds: float) -> str:
    """Write a duration as h:mm:ss."""
    whole = int(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def round_line(result: RoundResult, total: int, metric: str, label: str) -> str:
    """Describe a round in one plain line, e.g. ``round 3/10 | angular error (deg) 9.1 | ...``."""
    parts = [f"round {result.number}/{total}", *measured_texts(result, metric, label)]
    if result.train_loss is not None:
        parts.append(f"train loss {number_text(result.train_loss)}")
    if result.asked:
        parts.append(f"clients {result.replied}/{result.asked}")
    if result.failures:
        parts.append(f"failed: {causes_text(result.failures)}")
    if result.bytes_up:
        parts.append(f"up {bytes_text(result.bytes_up)}")
    wall = wall_seconds(result)
    if wall:
        parts.append(seconds_text(wall))
    return " | ".join(parts)


def measured_texts(result: RoundResult, metric: str, label: str) -> list[str]:
    """Write what a round measured: the metric under its label, epsilon, an adaptive clipping norm."""
    parts = []
    if metric in result.metrics:
        parts.append(f"{label} {number_text(result.metrics[metric])}")
    if result.epsilon is not None:
        reported = result.epsilon_reported
        less = reported is not None and reported < result.epsilon
        parts.append(
            f"epsilon {at_most(result.epsilon)}" + (f" ({at_most(reported or 0.0)} reported)" if less else "")
        )
    if result.clipping_norm is not None:
        parts.append(f"clipping norm {result.clipping_norm:.3g}")
    return parts


def lifetime_text(found: "Lifetime", fewest: bool = False) -> str:
    """Write what all private runs on the same data have cost: ``12.3 at delta 1e-05 (with 2 other runs)``.

    Args:
        found: the cost.
        fewest: whether a release was charged at the noise of the fewest answers that it may be made of.
    """
    others = found.earlier_runs
    runs = f"with {others} other run{'s' * (others > 1)}" if others else "no other run"
    by = accountant_text(found.spent.accountant)
    text = f"{at_most(found.spent.epsilon)} at delta {at_most(found.spent.delta)} ({runs}{by and f'; {by}'})"
    if fewest:
        text += "; charged for the fewest answers"
    return f"{text}; {seeded_text(found.seeded_runs, others + 1)}" if found.seeded_runs else text


def accountant_text(accountant: str | None) -> str:
    """Name an accountant, but for PRV, which is the rule at the level of images and gets no word."""
    return {"rdp": "RDP bound", "zcdp": "zcdp", "none": "no accountant bounds it"}.get(accountant or "", "")


def seeded_text(seeded: int, runs: int) -> str:
    """Write how many runs had noise that does not count: ``1 of 3 runs had seeded noise, which ...``."""
    return f"{seeded} of {runs} run{'s' * (runs > 1)} had seeded noise, which protects nobody"


def causes_text(failures: Mapping[str, int]) -> str:
    """Write failures by cause, in the order of their names: 1 no_reply, 2 non_finite."""
    return ", ".join(f"{count} {cause}" for cause, count in sorted(failures.items()))


def wall_seconds(result: RoundResult) -> float:
    """Add a round's phases up; encryption is part of the clients' training."""
    inside = "encrypt" if "train" in result.seconds else ""
    return sum(value for phase, value in result.seconds.items() if phase != inside)


def audit_text(found: "Verdict", listener: str) -> str:
    """Say what an audit proves: ``at least 0.62 (95 %) of the 8 claimed; 500 canaries, heard in ...``.

    Args:
        found: the verdict.
        listener: what it was heard in.
    """
    from fedpriv.privacy.audit_verdict import CONFIDENCE

    claimed = found.claimed.epsilon
    text = (
        f"at least {at_least(found.bound)} ({CONFIDENCE:.0%}) of the {at_most(claimed)} claimed; "
        f"{len(found.included)} canaries, heard in {listener}"
    ).replace("%)", " %)")
    if found.refuted:
        return f"REFUTED: {text}"
    return text if found.most > claimed else f"{text}; they can prove {at_most(found.most)} at most, add more"
