"""What a run found, and the table that it ends with: figures, costs, and who could read what."""

from dataclasses import dataclass
from typing import Any

from rich.console import Console

from fedpriv.config.privacy import relation_of
from fedpriv.config.schema import Keys, Mode, NoiseBy, NoiseSource, PrivacyUnit, RunConfig, Scheme
from fedpriv.config.secure import keys_of
from fedpriv.console.summary import summary_table
from fedpriv.console.wording import audit_text, lifetime_text
from fedpriv.privacy.audit_verdict import Verdict
from fedpriv.privacy.purse import Lifetime
from fedpriv.relayed.found import Found, relayed_rows
from fedpriv.results import RoundResult
from fedpriv.tasks.base import Task
from fedpriv.types import FloatVector, Metrics


@dataclass(frozen=True)
class Report:
    """What a run found.

    Attributes:
        metric: name of the metric that the task is judged by.
        history: every round, from round 0.
        baseline: the task's metrics without learning.
        parameters: the final model; with ``mode: local`` client 0's.
        mlflow_run_id: where it is tracked, or None.
        lifetime: what all runs, this one among them, have cost the images; None without a ledger or without
            differential privacy, and for a run that had ended before.
        seconds: of this process's rounds with their evaluation, start-up and shutdown apart.
        audit: what the run's canaries prove; None without an audit, where nothing was heard of them, and for
            a run that had ended before.
        relayed: what clients found who asked the model through relays; None without, and for a run that had
            ended before.
        personal: how clients judge the final model on their own people, before and after making it their
            own, see :mod:`fedpriv.training.personalise`; None without, and for a run that had ended before.
    """

    metric: str
    history: list[RoundResult]
    baseline: Metrics
    parameters: FloatVector
    mlflow_run_id: str | None
    seconds: float
    lifetime: Lifetime | None = None
    audit: Verdict | None = None
    relayed: Found | None = None
    personal: Metrics | None = None


def show_summary(
    console: Console,
    config: RunConfig,
    task: Task,
    report: Report,
    parameters: int,
    tracker: Any,
    registered: str | None,
) -> None:
    """Print a run's final table.

    Args:
        console: where to print.
        config: of the run.
        task: that it learned.
        report: what it found.
        parameters: of the model.
        tracker: that MLflow heard of it by; None without tracking.
        registered: what its model is registered as; None if it is not.
    """
    summary_table(
        console,
        report.history,
        metric=report.metric,
        label=task.metric.label,
        baseline=report.baseline.get(report.metric),
        baseline_label=task.baseline_label,
        other_baselines=report.baseline,
        epsilon_caveat=_caveat(config),
        readers=_readers(config, any(result.clear_fraction for result in report.history)),
        epsilon_unit="client level" if config.privacy.unit is PrivacyUnit.client else None,
        relation=relation_of(config),
        lifetime=_all_runs(config, report.lifetime),
        audit=_audit_row(config, report.audit),
        personal=report.personal,
        relayed=() if report.relayed is None else relayed_rows(report.relayed),
        parameters=parameters,
        tracking_uri=None if tracker is None else tracker.uri,
        experiment=config.tracking.experiment,
        run_id=report.mlflow_run_id,
        registered=registered,
    )


def listener(config: RunConfig) -> str:
    """Say what an audit listens to."""
    seen = "update in clear" if config.secure.scheme is Scheme.plain else "part in the released means"
    return f"client {config.audit.client}'s {seen}"


def _readers(config: RunConfig, clear: bool) -> str:
    """Say who can read what of the updates; ``clear`` tells that part of each is not encrypted."""
    if config.secure.scheme is Scheme.plain:
        return "the server, one by one"
    if keys_of(config) is Keys.committee:
        who = f"{config.secure.holders} key holders, together and as sums only"
    else:
        who = "1 key holder, as sums only; clients share its key"
    return f"{who}; the server, one by one, what is in clear" if clear else who


def _audit_row(config: RunConfig, audit: Verdict | None) -> str | None:
    if not config.audit.enabled:
        return None
    if audit is None:
        return f"nothing: client {config.audit.client} was never heard"
    return audit_text(audit, listener(config))


def _all_runs(config: RunConfig, total: Lifetime | None) -> str | None:
    """Say what all private runs together have cost; None without differential privacy."""
    if config.privacy.unit is PrivacyUnit.none:
        return None
    if total is None:
        return "not counted: privacy.ledger=null"
    # a client cannot know how many others will answer, and so charges more than the run says of itself
    fewest = config.privacy.unit is PrivacyUnit.client and config.privacy.noise_by is NoiseBy.clients
    return lifetime_text(total, fewest)


def _caveat(config: RunConfig) -> str | None:
    privacy = config.privacy
    caveats = []
    if privacy.unit is not PrivacyUnit.none:
        alone = config.mode is Mode.centralized
        caveats.append(f"of models, not of the {'training loss' if alone else 'figures that clients report'}")
    if privacy.unit is PrivacyUnit.client and privacy.noise_by is NoiseBy.server:
        caveats.append("not against the server, which draws the noise")
    if privacy.unit is not PrivacyUnit.none and privacy.noise is NoiseSource.fast:
        caveats.append("noise is seeded (privacy.noise=fast), so it protects nobody: research only")
    return "; ".join(caveats) or None
