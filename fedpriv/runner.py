"""Run one experiment, or go on with one: check, train, keep, track, summarise."""

import logging
import math
import secrets
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from fedpriv.checkpoint import Checkpoint, RunRecord
from fedpriv.config.as_json import to_json
from fedpriv.config.audit import verdict_of
from fedpriv.config.baseline import SAID, asked_privacy
from fedpriv.config.check_baseline import check_asked
from fedpriv.config.checks import check
from fedpriv.config.datasets import build_data
from fedpriv.config.ledger import lifetime, said_of_shares
from fedpriv.config.models import build_backbone
from fedpriv.config.privacy import stated
from fedpriv.config.schema import EngineName, Mode, RunConfig
from fedpriv.config.training import build_personalisation
from fedpriv.console.progress import RunProgress
from fedpriv.console.wording import audit_text
from fedpriv.errors import StaleCheckpoint, UserError
from fedpriv.federated.server_app import Outcome
from fedpriv.resumption import go_on, is_trained, require_same
from fedpriv.run_config import plain_values, recorded, resolved
from fedpriv.run_keys import key_folder
from fedpriv.run_summary import Report, listener, show_summary
from fedpriv.snapshot import Snapshot
from fedpriv.trainers import begin_workers_of, build_trainer, fingerprint, models_of
from fedpriv.training.parameters import FlatParameters
from fedpriv.watch import (
    Part,
    Watch,
    end_abandoned,
    log_failed,
    log_partition,
    log_results,
    open_tracker,
    register_final,
    tracking_store,
    try_results,
)

log = logging.getLogger("fedpriv")


def run(
    config: RunConfig,
    overrides: list[str] | None = None,
    output_dir: Path | None = None,
    console: Console | None = None,
    part: Part | None = None,
) -> Report:
    """Run one experiment from its configuration.

    Args:
        config: as composed; it is not changed.
        overrides: the command line that made it, for the record.
        output_dir: where the checkpoint goes; None writes none.
        console: where the final table goes; None prints none.
        part: of the run in a sweep.

    Raises:
        UserError: for anything a user can mend.
    """
    check_asked(config)
    asked = asked_privacy(config)
    config = resolved(config)
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
        return _execute(config, overrides or [], checkpoint, console, part or Part(), asked=asked)


def resume(folder: Path, console: Console | None = None, part: Part | None = None) -> Report:
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
        part: of the run in a sweep; what it says to MLflow's run was said when that was made.

    Raises:
        StaleCheckpoint: when there is nothing to go on from, or the data has changed.
        UserError: when a living process still runs there.
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
        config = recorded(record, checkpoint)
        config.first_run_id = config.first_run_id or config.run_id
        config.run_id = secrets.token_hex(16)
        if config.mode is Mode.federated and config.engine.name is EngineName.ray:
            raise StaleCheckpoint(
                f"{folder}: engine=ray keeps the clients' memory to itself, so it cannot be resumed; "
                "run it again, or with engine=inprocess"
            )
        check(config)
        if snapshot is None:
            log.info("begins anew: the run ended before its first round")
        return _execute(config, record.overrides, checkpoint, console, part or Part(), record, snapshot)


def _execute(
    config: RunConfig,
    overrides: list[str],
    checkpoint: Checkpoint | None,
    console: Console | None,
    part: Part,
    record: RunRecord | None = None,
    snapshot: Snapshot | None = None,
    asked: dict[str, Any] | None = None,
) -> Report:
    """Run from the start, or on from ``snapshot``; ``asked`` is the privacy to record if not the run's."""
    home = None if checkpoint is None else checkpoint.folder.parent
    with begin_workers_of(config) as nursery, key_folder(config, home) as keys:
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
        plain = plain_values(config) | ({} if asked is None else {"privacy": asked})
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
            open_tracker(config, plain, overrides, folder, record, task.metric, part) as tracker,
            RunProgress(task.metric.name, task.metric.label, shown=part.shown) as progress,
        ):
            if checkpoint and record and tracker and record.mlflow_run_id is None:
                record = replace(record, mlflow_run_id=tracker.run_id)
                checkpoint.note(record)
            trainer = build_trainer(text, nursery)
            # now, for worker processes, where there are any, are still importing
            try_results(config, task, test, backbone, tracker)
            if snapshot is not None and checkpoint is not None:
                snapshot = go_on(config, trainer, snapshot, checkpoint, tracker)
            elif tracker is not None:
                tracker.log_baseline(baseline)
                log_partition(config, training, tracker)
            history = [] if snapshot is None else snapshot.history
            watch = Watch(
                progress, tracker, checkpoint, trainer, parameters.layout.digest, history, part.on_round
            )
            if snapshot is not None and is_trained(config, snapshot):
                outcome, kept = Outcome(snapshot.history, snapshot.parameters), snapshot.kept
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
                kept = trainer.kept()
            parameters.load(outcome.parameters)
            total = lifetime(text, stated(config, outcome.history[-1]))
            audit = verdict_of(text, kept.heard, outcome.history)
            if audit is not None and audit.refuted:
                log.warning("audit: %s", audit_text(audit, listener(config)))
            if tracker is not None:
                log_results(config, task, training, test, backbone, outcome.history, baseline, total, tracker)
                if config.audit.enabled:
                    tracker.log_audit(audit, listener(config))
            personalisation, personal = build_personalisation(text), None
            if personalisation is not None:
                personal = personalisation.judge(models_of(config, outcome.parameters, kept))
                if tracker is not None:
                    tracker.log_figures(personal)
            relayed = None
            if config.relays.enabled and folder is not None:
                from fedpriv.relayed_run import relayed_inference  # on use: other runs need no web client

                evaluated = outcome.history[-1].metrics.get(task.metric.name, math.nan)
                relayed = relayed_inference(config, text, folder, outcome.parameters, evaluated, tracker)
            registered = register_final(config, tracker)
        if checkpoint is not None and record is not None:
            checkpoint.finish(record)
    if registered is not None:
        log.info("registered as %s", registered)
    report = Report(
        metric=task.metric.name,
        history=outcome.history,
        baseline=baseline,
        parameters=outcome.parameters,
        mlflow_run_id=None if tracker is None else tracker.run_id,
        seconds=watch.times[-1] - watch.times[0] if watch.times else 0.0,
        lifetime=total,
        audit=audit,
        relayed=relayed,
        personal=personal,
    )
    if console is not None:
        show_summary(console, config, task, report, parameters.layout.size, tracker, registered)
    return report
