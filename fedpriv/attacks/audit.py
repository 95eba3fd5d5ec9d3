"""The canary audit of one run: what an observer of every update can prove about the epsilon that it claims.

Training is real: the project's own DP-SGD, or its own clipping, rounding and discrete noise of client
updates, on synthetic eyes in one process (:mod:`fedpriv.attacks.audit_runs`).
"""

from dataclasses import dataclass

from fedpriv.attacks.audit_runs import (
    ROUNDS,
    STEPS,
    AuditSettings,
    train_by_dp_sgd,
    train_by_noisy_sums,
)
from fedpriv.errors import UserError
from fedpriv.privacy.audit_verdict import Verdict, curves_of_dp_sgd, curves_of_sums, judge
from fedpriv.privacy.canaries import coins


@dataclass(frozen=True)
class Audit(Verdict):
    """What an audit found.

    Attributes:
        settings: what was audited.
    """

    settings: AuditSettings


def audit(settings: AuditSettings) -> Audit:
    """Train once with canaries, guess their coins, and bound epsilon from below.

    Raises:
        UserError: when the claim is out of reach, or canaries outnumber the model's parameters.
    """
    included = coins(settings.canaries, settings.seed)
    try:
        if settings.level == "client":
            sum_plan, scores = train_by_noisy_sums(settings, included)
            claimed = sum_plan.spent([sum_plan.contributors] * ROUNDS)
            curves = curves_of_sums(sum_plan, ROUNDS)
        else:
            plan, scores = train_by_dp_sgd(settings, included)
            claimed = plan.spent(((plan.noise_multiplier, plan.sample_rate, STEPS),))
            curves = curves_of_dp_sgd(plan, STEPS)
    except ValueError as error:
        raise UserError(f"audit: {error}") from error
    return Audit(**vars(judge(scores, included, claimed, curves)), settings=settings)
