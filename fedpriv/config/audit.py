"""The canary audit of a run (``audit.enabled=true``): who plants, who listens, and the verdict.

One client carries canaries: further examples at the sample level, further clients at the client level. Each
is in or out by a coin (Steinke, Nasr, Jagielski 2023, arXiv 2305.08846), and goes the way of all others:
sampling, clipping, rounding, noise, encryption. The server listens to what it is sent and what it opens.
What is audited is so the run itself, its implementation and its accounting, and not a model of it.
"""

from collections.abc import Sequence

from fedpriv.config.as_json import from_json
from fedpriv.config.datasets import build_data, build_shares
from fedpriv.config.models import layout_of
from fedpriv.config.privacy import plan_of, sum_plan_of
from fedpriv.config.schema import Mode, PrivacyUnit, RunConfig, Scheme
from fedpriv.errors import UserError
from fedpriv.federated.listening import Listener
from fedpriv.privacy.accounting import Spent
from fedpriv.privacy.audit_verdict import Verdict, curves_of_dp_sgd, curves_of_sums, judge
from fedpriv.privacy.canaries import Canaries, CanaryClients, coins
from fedpriv.privacy.listening import Heard
from fedpriv.results import RoundResult

FEWEST, MOST = 10, 5000
"""Canaries of an audit."""


def check_audit(config: RunConfig) -> None:
    """Check the settings among themselves; :func:`check_audit_fits` needs the model too.

    Raises:
        UserError: for the first that is impossible or means nothing.
    """
    audit = config.audit
    if not audit.enabled:
        return
    if config.mode is not Mode.federated:
        raise UserError(
            f"audit.enabled=true: mode={config.mode.value} releases no updates to listen to; use "
            "mode=federated, or `fedpriv attack audit`"
        )
    if config.privacy.unit is PrivacyUnit.none:
        raise UserError(
            "audit.enabled=true: a run without differential privacy claims nothing; add privacy=dp_sgd, or "
            "privacy=client_level secure=bfv"
        )
    if not FEWEST <= audit.canaries <= MOST:
        raise UserError(f"audit.canaries={audit.canaries}: choose {FEWEST} to {MOST}")
    if not 0 <= audit.client < config.federation.clients:
        raise UserError(
            f"audit.client={audit.client}: there is no such client; choose 0 to "
            f"{config.federation.clients - 1}"
        )


def check_audit_fits(config: RunConfig, parameters: int) -> None:
    """Check that each canary has a direction of its own in a model of so many parameters.

    Raises:
        UserError: when canaries outnumber them.
    """
    if config.audit.enabled and config.audit.canaries > parameters:
        raise UserError(
            f"audit.canaries={config.audit.canaries}: the model has {parameters} parameters; choose no more"
        )


def build_canaries(config: RunConfig, parameters: int) -> Canaries | None:
    """Return the canaries of a run whose model has so many parameters, or None without an audit."""
    audit = config.audit
    return Canaries.plant(audit.canaries, audit.client, parameters, config.seed) if audit.enabled else None


def build_listener(text: str) -> Listener | None:
    """Return who listens at the server, or None without an audit; it is not told the coins."""
    config = from_json(text)
    audit = config.audit
    if not audit.enabled:
        return None
    directions = CanaryClients(audit.canaries, layout_of(text).size, config.seed)
    return Listener(audit.client, directions, clear=config.secure.scheme is Scheme.plain)


def verdict_of(text: str, heard: Heard | None, history: Sequence[RoundResult]) -> Verdict | None:
    """Return what a finished run's canaries prove; None without an audit, and where nothing was heard.

    What is claimed is, at the sample level, what the carrier itself says it has spent; at the client level
    what the server says of the run.

    Args:
        text: the configuration as JSON.
        heard: of the canaries.
        history: all rounds.
    """
    config = from_json(text)
    if not config.audit.enabled or heard is None or not heard.rounds:
        return None
    included, sums, last = coins(config.audit.canaries, config.seed), sum_plan_of(config), history[-1]
    if sums is not None:
        claimed = Spent(last.epsilon or 0.0, sums.delta, "zcdp")
        return judge(heard.sums, included, claimed, curves_of_sums(sums, heard.rounds))
    make = plan_of(config)
    if make is None:
        return None
    _, training, _ = build_data(text)
    plan = make(len(build_shares(config, training)[config.audit.client]))
    claimed = Spent(heard.epsilon, plan.delta, "client")
    return judge(heard.sums, included, claimed, curves_of_dp_sgd(plan, heard.rounds * plan.steps_per_round))
