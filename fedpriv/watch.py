"""Who hears of a run: the terminal, the checkpoint, and MLflow, which gets pictures and model too."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from fedpriv.checkpoint import Checkpoint, RunRecord
from fedpriv.config.as_json import from_json, to_json
from fedpriv.config.datasets import build_shares
from fedpriv.config.ledger import lifetime as lifetime_of
from fedpriv.config.privacy import relation_of, stated
from fedpriv.config.schema import Keys, Mode, PrivacyUnit, RunConfig, Scheme
from fedpriv.config.secure import keys_of
from fedpriv.config.used import encryption_figures, recorded
from fedpriv.console.progress import RunProgress
from fedpriv.data.dataset import ImageDataset
from fedpriv.data.partition.overview import overview
from fedpriv.errors import UserError
from fedpriv.privacy.purse import Lifetime
from fedpriv.results import RoundResult
from fedpriv.snapshot import Snapshot
from fedpriv.tasks.base import MetricSpec, Task
from fedpriv.tracking.uncollected import uncollected
from fedpriv.trainers import Trainer
from fedpriv.types import FloatVector, Metrics

log = logging.getLogger("fedpriv")


@dataclass(frozen=True)
class Part:
    """A run's part in something larger, such as a sweep; by default none.

    Attributes:
        parent_run_id: the MLflow run that the run is shown under.
        tags: further tags of the run in MLflow.
        on_round: hears of every round once it is kept; what it raises ends the run.
        shown: whether the terminal is the run's to draw on.
    """

    parent_run_id: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    on_round: Callable[[RoundResult], None] | None = None
    shown: bool = True


class Watch:
    """Passes a run's progress on to the terminal, the checkpoint and MLflow."""

    def __init__(
        self,
        progress: RunProgress,
        tracker: Any,
        checkpoint: Checkpoint | None,
        trainer: Trainer,
        layout: bytes,
        history: list[RoundResult],
        on_round: Callable[[RoundResult], None] | None = None,
    ) -> None:
        """Continue ``history``; ``tracker``, ``checkpoint`` and ``on_round`` may be None."""
        self._on_round = on_round
        self._progress, self._tracker, self._checkpoint = progress, tracker, checkpoint
        self._trainer, self._layout, self._history = trainer, layout, list(history)
        self.times: list[float] = []

    def client_done(self, done: int, asked: int) -> None:
        """See :class:`RunObserver`."""
        self._progress.client_done(done, asked)

    def round_done(self, result: RoundResult, parameters: FloatVector) -> None:
        """See :class:`RunObserver`."""
        self.times.append(time.perf_counter())
        self._progress.round_done(result)
        self._history.append(result)
        if self._checkpoint is not None:
            # before MLflow: what it misses after a crash is written later, what it has twice stays
            self._checkpoint.save(Snapshot(self._history, parameters, self._layout, self._trainer.kept()))
        if self._tracker is not None:
            self._tracker.log_round(result)
        if self._on_round is not None:
            self._on_round(result)


@contextmanager
def open_tracker(
    config: RunConfig,
    plain: dict[str, Any],
    overrides: list[str],
    output_dir: Path | None,
    record: RunRecord | None,
    metric: MetricSpec,
    part: Part,
) -> Iterator[Any]:
    """Make the run an MLflow run, or open the one that its ``record`` names; None without tracking.

    Guarantee:
        - A run whose record was written before has one run in MLflow, whenever its process was killed.

    Args:
        config: of the run.
        plain: the same as nested plain values.
        overrides: the command line that made it.
        output_dir: where the run writes its files.
        record: of the run; None for one that writes none.
        metric: that the run is judged by; named in tags, so that whoever compares runs needs no task.
        part: of the run in something larger.

    Raises:
        UserError: when the store or the run cannot be opened.
    """
    if not config.tracking.enabled or (record is not None and record.tracking_uri is None):
        yield None
        return
    with uncollected():
        from fedpriv.tracking.mlflow_logger import EPSILON_SO_FAR, RunLogger

    if record is not None and record.mlflow_run_id is not None:
        with RunLogger.resume(record.tracking_uri, record.mlflow_run_id, plain) as logger:
            yield logger
        return
    private = config.privacy.unit is not PrivacyUnit.none
    with RunLogger.start(
        uri=config.tracking.uri if record is None else record.tracking_uri,
        experiment=config.tracking.experiment,
        run_name=config.tracking.run_name or _run_name(config),
        artifact_root=None,
        config=recorded(config, plain),
        seed=config.seed,
        overrides=overrides,
        tags={
            "mode": config.mode.value,
            "metric": metric.name,
            "metric_label": metric.label,
            "metric_lower_is_better": str(metric.lower_is_better).lower(),
            "privacy_unit": config.privacy.unit.value,
            "privacy_noise": config.privacy.noise.value if private else "none",
            "privacy_relation": relation_of(config) or "none",
            "privacy_ledger": "on" if private and config.privacy.ledger is not None else "off",
            "engine": config.engine.name.value,
            **({} if record is None else {"data_id": record.data}),
            **(EPSILON_SO_FAR if private else {}),
            **part.tags,
        },
        parent_run_id=part.parent_run_id,
        log_dir=output_dir,
        figures={f"encryption.{name}": value for name, value in encryption_figures(to_json(config)).items()},
        key=config.first_run_id or config.run_id,
    ) as logger:
        yield logger


def tracking_store(config: RunConfig) -> str | None:
    """Return the address of the MLflow store from anywhere, None without tracking.

    Raises:
        UserError: when MLflow keeps no runs there.
    """
    if not config.tracking.enabled:
        return None
    with uncollected():
        from fedpriv.tracking.store import locate

    return locate(config.tracking.uri).uri


def end_abandoned(checkpoint: Checkpoint) -> None:
    """End in MLflow the run whose process was killed in this folder before its first round, if any.

    A folder serves one process: that of an unfinished run is gone. A store that does not answer is only said.
    """
    try:
        record = checkpoint.record()
    except UserError:
        return
    tracking, key = record.config.get("tracking"), record.config.get("run_id")
    if record.finished or record.tracking_uri is None or not isinstance(tracking, dict):
        return
    from fedpriv.tracking.abandoned import end_abandoned as end

    try:
        end(record.tracking_uri, str(tracking.get("experiment")), str(key))
    except UserError as error:
        log.warning("the run that was killed here stays open in MLflow: %s", error)


def log_partition(config: RunConfig, training: ImageDataset, tracker: Any) -> None:
    """Draw who holds what into MLflow, unless there are no clients or ``tracking.log_partition`` is off."""
    from fedpriv.tracking.partition_plot import partition_plot

    if config.mode is not Mode.centralized and config.tracking.log_partition:
        seen = overview(training, build_shares(config, training))
        tracker.log_picture(partition_plot(seen), "partition")


def try_results(config: RunConfig, task: Task, test: ImageDataset, backbone: nn.Module, tracker: Any) -> None:
    """Do with the untrained ``backbone`` what comes after training, so that it does not fail then.

    Raises:
        UserError: if MLflow cannot keep such a model.
    """
    if tracker is None or config.mode is Mode.local:
        return
    if config.evaluation.pictures:
        task.draw(backbone, test, 1, config.seed)
    if config.tracking.log_model:
        tracker.try_model(backbone, task.example(test))


def log_results(
    config: RunConfig,
    task: Task,
    training: ImageDataset,
    test: ImageDataset,
    backbone: nn.Module,
    history: list[RoundResult],
    baseline: Metrics,
    lifetime: Lifetime | None,
    tracker: Any,
) -> None:
    """Write curves, predictions and the trained ``backbone`` with its privacy statement to MLflow.

    With ``mode: local`` neither predictions nor model: there is none but the clients' own.
    """
    from fedpriv.tracking.plots import bytes_plot, epsilon_plot, metric_plot, seconds_plot

    metric, spent = task.metric, stated(config, history[-1])
    if spent is None:
        tracker.tag("privacy_accountant", "none")
    else:
        tracker.log_epsilon(spent)
    if lifetime is not None:
        tracker.log_lifetime(lifetime.spent.epsilon, lifetime.earlier_runs)
    tracker.log_picture(
        metric_plot(history, metric.name, metric.label, baseline.get(metric.name), task.baseline_label),
        metric.name,
    )
    if any(result.bytes_up for result in history):
        tracker.log_picture(bytes_plot(history), "bytes")
    tracker.log_picture(seconds_plot(history), "seconds")
    if spent is not None:
        tracker.log_picture(epsilon_plot(history, private=True), "epsilon")
    if config.mode is Mode.local:
        return
    if config.evaluation.pictures:
        tracker.log_picture(task.draw(backbone, test, config.evaluation.pictures, config.seed), "predictions")
    if config.tracking.log_model:
        statement = {
            "unit": config.privacy.unit.value,
            "epsilon": None if spent is None else spent.epsilon,
            "delta": None if spent is None else spent.delta,
            "accountant": None if spent is None else spent.accountant,
            "relation": relation_of(config),
            "data": training.name,
            "noise": None if spent is None else config.privacy.noise.value,
        }
        if config.privacy.unit is PrivacyUnit.client:
            statement["noise_by"] = config.privacy.noise_by.value
        tracker.log_model(backbone, task.example(test), statement)


def register_final(config: RunConfig, tracker: Any) -> str | None:
    """Register the logged model if ``tracking.register`` names one; return ``models:/NAME/VERSION``."""
    if config.tracking.register is None or tracker is None:
        return None
    from fedpriv.tracking.registry import register

    tracker.flush()  # what is registered states what the run's tags say
    return register(tracker.uri, tracker.run_id, config.tracking.register, ended=False).name


def log_failed(text: str, trainer: Trainer, tracker: Any) -> None:
    """Write to MLflow what a run (JSON) that fails in training has spent, the round that failed included.

    What goes wrong here is only said: the failure of the run is what its user must hear of.
    """
    if tracker is None or from_json(text).privacy.unit is PrivacyUnit.none:
        return
    try:
        if (spent := trainer.spent()) is None:
            return
        tracker.log_epsilon(spent, round_failed=True)
        if (total := lifetime_of(text, spent)) is not None:
            tracker.log_lifetime(total.spent.epsilon, total.earlier_runs)
    except Exception as error:
        log.warning("MLflow does not have all that the run has spent: %s", error)


def _run_name(config: RunConfig) -> str:
    task = str(config.task.get("_target_")).rsplit(".", 1)[-1].removesuffix("Task").lower()
    if config.mode is not Mode.federated:
        return f"{task}-{config.mode.value}-{config.privacy.unit.value}-seed{config.seed}"
    return f"{task}-{config.privacy.unit.value}-{_secure_name(config)}-seed{config.seed}"


def _secure_name(config: RunConfig) -> str:
    committee = config.secure.scheme is not Scheme.plain and keys_of(config) is Keys.committee
    return config.secure.scheme.value + (f"-committee{config.secure.holders}" if committee else "")
