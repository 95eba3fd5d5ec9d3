"""Run one experiment, or go on with one: check, train, keep, track, summarise."""

import logging
import math
import secrets
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console

from fedpriv.checkpoint import Checkpoint, RunRecord
from fedpriv.config.as_json import to_json, typed
from fedpriv.config.audit import verdict_of
from fedpriv.config.baseline import SAID, asked_privacy
from fedpriv.config.check_baseline import check_asked
from fedpriv.config.checks import check
from fedpriv.config.datasets import build_data
from fedpriv.config.ledger import DEFAULT, lifetime, said_of_shares
from fedpriv.config.models import build_backbone
from fedpriv.config.privacy import relation_of, stated
from fedpriv.config.schema import EngineName, Keys, Mode, NoiseBy, NoiseSource, PrivacyUnit, RunConfig, Scheme
from fedpriv.config.secure import keys_of
from fedpriv.console.progress import RunProgress
from fedpriv.console.summary import summary_table
from fedpriv.console.wording import audit_text, lifetime_text
from fedpriv.errors import UserError
from fedpriv.federated.server_app import Outcome
from fedpriv.privacy.audit_verdict import Verdict
from fedpriv.privacy.purse import Lifetime
from fedpriv.relayed.found import Found, relayed_rows
from fedpriv.results import RoundResult
from fedpriv.resumption import go_on, is_trained, require_same
from fedpriv.run_keys import key_folder
from fedpriv.snapshot import Snapshot
from fedpriv.trainers import build_trainer, fingerprint
from fedpriv.training.parameters import FlatParameters
from fedpriv.types import FloatVector, Metrics
from fedpriv.watch import (
    Watch,
    end_abandoned,
    log_failed,
    log_partition,
    log_results,
    open_tracker,
    tracking_store,
)

log = logging.getLogger("fedpriv")


@dataclass(frozen=True)
class Report:
    """What a run found.

    Attributes:
        metric: name of the metric that the task is judged by.
        history: every round, from round 0.
        baseline: the task's metrics without learning.
        parameters: the final model.
        mlflow_run_id: where it is tracked, or None.
        lifetime: what all runs, this one among them, have cost the images; None without a ledger or without
            differential privacy, and for a run that had ended before.
        seconds: of this process's rounds with their evaluation, start-up and shutdown apart.
        audit: what the run's canaries prove; None without an audit, where nothing was heard of them, and for
            a run that had ended before.
        relayed: what clients found who asked the model through relays; None without, and for a run that had
            ended before.
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


def run(
    config: RunConfig,
    overrides: list[str] | None = None,
    output_dir: Path | None = None,
    console: Console | None = None,
) -> Report:
    """Run one experiment from its configuration.

    Args:
        config: as composed; it is not changed.
        overrides: the command line that made it, for the record.
        output_dir: where the checkpoint goes; None writes none.
        console: where the final table goes; None prints none.

    Raises:
        UserError: for anything a user can mend.
    """
    check_asked(config)
    asked = asked_privacy(config)
    config = _resolved(config)
    check(config)
    if config.relays.enabled and output_dir is None:
        raise UserError("relays=loopback: serves the model from the run's output folder; name one")
    if asked is not None:
        log.warning("%s", SAID)
    checkpoint = None if output_dir is None else Checkpoint(output_dir)
    with nullcontext() if checkpoint is None else checkpoint.held():
        if checkpoint is not None:
            checkpoint.require_free()
            end_abandoned(checkpoint)
        return _execute(config, overrides or [], checkpoint, console, asked=asked)


def resume(folder: Path, console: Console | None = None) -> Report:
    """Go on with an interrupted run after its last finished round, in the same MLflow run.

    Without differential privacy the rest is bit by bit what the undisturbed run would have been.
    With it, every party is first charged for the round that was under way, which may have left it
    (see :func:`fedpriv.training.party.charge_lost_round`), and so may have to stop a round earlier; at
    the level of clients it is the round's sum that is charged
    (:func:`fedpriv.privacy.client_level.cost_of_lost_release`).
    It gets new keys, unless its keys are in a folder of the user's, and in any case a new run id in
    what clients sign, so that no update that was signed for the first process counts in the second.

    With encrypted updates and no differential privacy, a resumption can tell a server more than the
    undisturbed run would have: the round that was under way is trained again, and the key holders, who
    count by run id, open it again. Where the first process came to open its sum, there are two of nearly the
    same updates; if a client is missing in one of them, their difference is nearly its update. Who may
    restart a run at will is trusted not to do that.

    Edge cases:
        - A finished run is only reported.
        - A run that was cut off after its last round is only finished: nothing is charged.
        - A run that was cut off before round 0 was kept has asked no client for an update: it begins anew,
          in the same MLflow run, and nothing is charged.

    Args:
        folder: the run's output folder.
        console: where the final table goes; None prints none.

    Raises:
        UserError: when there is nothing to go on from, the data has changed, or a living process
            still runs there.
    """
    checkpoint = Checkpoint(folder)
    record = checkpoint.record()
    with checkpoint.held():
        record = checkpoint.record()
        snapshot = checkpoint.load() if checkpoint.begun or record.finished else None
        if record.finished and snapshot is not None:
            log.info("%s: is finished, there is nothing to resume", folder)
            if console is not None:
                console.print(f"{folder}: is finished, there is nothing to resume", soft_wrap=True)
            return Report(
                record.metric,
                snapshot.history,
                record.baseline,
                snapshot.parameters,
                record.mlflow_run_id,
                seconds=0.0,
            )
        config = _recorded(record, checkpoint)
        config.first_run_id = config.first_run_id or config.run_id
        config.run_id = secrets.token_hex(16)
        if config.mode is Mode.federated and config.engine.name is EngineName.ray:
            raise UserError(
                f"{folder}: engine=ray keeps the clients' memory to itself, so it cannot be resumed; "
                "run it again, or with engine=inprocess"
            )
        check(config)
        if snapshot is None:
            log.info("begins anew: the run ended before its first round")
        return _execute(config, record.overrides, checkpoint, console, record, snapshot)


def _execute(
    config: RunConfig,
    overrides: list[str],
    checkpoint: Checkpoint | None,
    console: Console | None,
    record: RunRecord | None = None,
    snapshot: Snapshot | None = None,
    asked: dict[str, Any] | None = None,
) -> Report:
    """Run from the start, or on from ``snapshot``; ``asked`` is the privacy to record if not the run's."""
    with key_folder(config, None if checkpoint is None else checkpoint.folder.parent) as keys:
        lasting_keys, config.secure.key_folder = config.secure.key_folder, keys
        text = to_json(config)
        task, training, test = build_data(text)
        backbone = build_backbone(text)
        parameters = FlatParameters(backbone)
        data = "" if checkpoint is None else fingerprint(text)
        if record is not None and checkpoint is not None:
            require_same(checkpoint, record, snapshot, data, parameters)
        baseline = task.baseline(training, test) if record is None else record.baseline
        folder = None if checkpoint is None else checkpoint.folder.parent
        plain = _plain(config) | ({} if asked is None else {"privacy": asked})
        if checkpoint is not None and record is None:
            record = RunRecord(
                config={**plain, "secure": {**plain["secure"], "key_folder": lasting_keys}},
                overrides=overrides,
                data=data,
                metric=task.metric.name,
                baseline=baseline,
                tracking_uri=tracking_store(config),
            )
            # before MLflow has the run: who goes on after a kill, however early, finds it by its name
            checkpoint.begin(record)
        elif record is not None and snapshot is None:
            plain = record.config
        with (
            open_tracker(config, plain, overrides, folder, record) as tracker,
            RunProgress(task.metric.name, task.metric.label) as progress,
        ):
            if checkpoint and record and tracker and record.mlflow_run_id is None:
                record = replace(record, mlflow_run_id=tracker.run_id)
                checkpoint.note(record)
            trainer = build_trainer(text)
            if snapshot is not None and checkpoint is not None:
                snapshot = go_on(config, trainer, snapshot, checkpoint, tracker)
            elif tracker is not None:
                tracker.log_baseline(baseline)
                log_partition(config, training, tracker)
            history = [] if snapshot is None else snapshot.history
            watch = Watch(progress, tracker, checkpoint, trainer, parameters.layout.digest, history)
            if snapshot is not None and is_trained(config, snapshot):
                outcome, heard = Outcome(snapshot.history, snapshot.parameters), snapshot.kept.heard
            else:
                if (said := said_of_shares(text)) is not None:
                    log.warning("%s", said)
                progress.start(config.federation.rounds)
                try:
                    outcome = trainer.train(watch, snapshot)
                except BaseException:
                    log_failed(text, trainer, tracker)
                    raise
                progress.close()
                heard = trainer.kept().heard
            parameters.load(outcome.parameters)
            total = lifetime(text, stated(config, outcome.history[-1]))
            audit = verdict_of(text, heard, outcome.history)
            if audit is not None and audit.refuted:
                log.warning("audit: %s", audit_text(audit, _listener(config)))
            if tracker is not None:
                log_results(config, task, training, test, backbone, outcome.history, baseline, total, tracker)
                if config.audit.enabled:
                    tracker.log_audit(audit, _listener(config))
            relayed = None
            if config.relays.enabled and folder is not None:
                from fedpriv.relayed_run import relayed_inference  # on use: other runs need no web client

                evaluated = outcome.history[-1].metrics.get(task.metric.name, math.nan)
                relayed = relayed_inference(config, text, folder, outcome.parameters, evaluated, tracker)
        if checkpoint is not None and record is not None:
            checkpoint.finish(record)
    if console is not None:
        summary_table(
            console,
            outcome.history,
            metric=task.metric.name,
            label=task.metric.label,
            baseline=baseline.get(task.metric.name),
            baseline_label=task.baseline_label,
            other_baselines=baseline,
            epsilon_caveat=_caveat(config),
            readers=_readers(config, any(result.clear_fraction for result in outcome.history)),
            epsilon_unit="client level" if config.privacy.unit is PrivacyUnit.client else None,
            relation=relation_of(config),
            lifetime=_all_runs(config, total),
            audit=_audit_row(config, audit),
            relayed=() if relayed is None else relayed_rows(relayed),
            parameters=parameters.layout.size,
            tracking_uri=None if tracker is None else tracker.uri,
            experiment=config.tracking.experiment,
            run_id=None if tracker is None else tracker.run_id,
        )
    return Report(
        metric=task.metric.name,
        history=outcome.history,
        baseline=baseline,
        parameters=outcome.parameters,
        mlflow_run_id=None if tracker is None else tracker.run_id,
        seconds=watch.times[-1] - watch.times[0] if watch.times else 0.0,
        lifetime=total,
        audit=audit,
        relayed=relayed,
    )


def _readers(config: RunConfig, clear: bool) -> str:
    """Say who can read what of the updates; ``clear`` tells that part of each is not encrypted."""
    if config.secure.scheme is Scheme.plain:
        return "the server, one by one"
    if keys_of(config) is Keys.committee:
        who = f"{config.secure.holders} key holders, together and as sums only"
    else:
        who = "1 key holder, as sums only; clients share its key"
    return f"{who}; the server, one by one, what is in clear" if clear else who


def _listener(config: RunConfig) -> str:
    """Say what an audit listens to."""
    seen = "update in clear" if config.secure.scheme is Scheme.plain else "part in the released means"
    return f"client {config.audit.client}'s {seen}"


def _audit_row(config: RunConfig, audit: Verdict | None) -> str | None:
    if not config.audit.enabled:
        return None
    if audit is None:
        return f"nothing: client {config.audit.client} was never heard"
    return audit_text(audit, _listener(config))


def _plain(config: RunConfig) -> dict[str, Any]:
    plain = cast(
        dict[str, Any], OmegaConf.to_container(cast(DictConfig, config), resolve=True, enum_to_str=True)
    )
    if not config.relays.enabled:
        del plain["relays"]  # nothing of a run that asks no relays depends on it
    return plain


def _recorded(record: RunRecord, checkpoint: Checkpoint) -> RunConfig:
    try:
        return typed(OmegaConf.create(record.config))
    except (OmegaConfBaseException, ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{checkpoint.folder / 'run.json'}: is damaged; run the experiment again") from error


def _resolved(config: RunConfig) -> RunConfig:
    """Return a copy with a fresh run id and with paths that hold in any process."""
    resolved = typed(cast(DictConfig, config))
    resolved.run_id = secrets.token_hex(16)
    if isinstance(resolved.data.get("root"), str):
        resolved.data.root = _absolute("data.root", resolved.data.root)
    keys = resolved.secure.key_folder
    if keys is not None and keys.strip():  # an empty one is the check's to refuse
        resolved.secure.key_folder = _absolute("secure.key_folder", keys)
    ledger = resolved.privacy.ledger
    if ledger is not None and ledger != DEFAULT and ledger.strip():
        resolved.privacy.ledger = _absolute("privacy.ledger", ledger)
    return resolved


def _absolute(field: str, path: str) -> str:
    try:
        return str(Path(path).expanduser().resolve())
    except (RuntimeError, OSError, ValueError) as error:
        raise UserError(f"{field}={path}: is no path ({error}); mend it") from error


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
