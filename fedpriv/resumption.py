"""What going on with an interrupted run takes: the same data and model, and the lost round charged."""

import logging
from typing import Any

from fedpriv.checkpoint import Checkpoint, RunRecord
from fedpriv.config.schema import PrivacyUnit, RunConfig
from fedpriv.errors import StaleCheckpoint
from fedpriv.snapshot import Snapshot
from fedpriv.trainers import Trainer
from fedpriv.training.parameters import FlatParameters

log = logging.getLogger("fedpriv")


def is_trained(config: RunConfig, snapshot: Snapshot) -> bool:
    """Tell whether no round is left to train: all are done, or the privacy budget is spent."""
    return snapshot.kept.ended or len(snapshot.history) > config.federation.rounds


def go_on(
    config: RunConfig, trainer: Trainer, snapshot: Snapshot, checkpoint: Checkpoint, tracker: Any
) -> Snapshot:
    """Charge the lost round, on disk before anything is trained, and bring MLflow up to date."""
    last = len(snapshot.history) - 1
    if not is_trained(config, snapshot):
        snapshot = trainer.charge(snapshot)
        checkpoint.save(snapshot)
        charged = config.privacy.unit is not PrivacyUnit.none
        log.info(
            "goes on after round %d of %d%s",
            last,
            config.federation.rounds,
            "; the round that was under way is charged to every privacy budget" if charged else "",
        )
    if tracker is not None:
        written = tracker.rounds()
        for result in snapshot.history:
            if result.number not in written:
                tracker.log_round(result)
        tracker.tag("resumed_after_round", str(last))
    return snapshot


def require_same(
    checkpoint: Checkpoint,
    record: RunRecord,
    snapshot: Snapshot | None,
    data: str,
    parameters: FlatParameters,
) -> None:
    """Refuse to go on with other data or another model than the run began with.

    Args:
        checkpoint: where the run is kept.
        record: what does not change.
        snapshot: after the last finished round; None before the first one.
        data: fingerprint of the data as it is now.
        parameters: of the model as it is now.

    Raises:
        StaleCheckpoint: naming which of them it is.
    """
    folder = checkpoint.folder.parent
    if record.data != data:
        raise StaleCheckpoint(f"{folder}: the data has changed since; run the experiment again")
    layout = parameters.layout
    if snapshot is None:
        return
    if snapshot.layout != layout.digest or snapshot.parameters.shape != (layout.size,):
        raise StaleCheckpoint(f"{folder}: the checkpoint holds another model; run the experiment again")
