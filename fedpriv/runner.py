"""Run one experiment: check, make the key, train on the chosen engine, track, summarise."""

import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from torch import nn

from fedpriv.apps import client_app, server_app
from fedpriv.config.builders import build_backbone, build_data, make_key, to_json, typed
from fedpriv.config.checks import check
from fedpriv.config.schema import EngineName, NoiseSource, PrivacyUnit, RunConfig, Scheme
from fedpriv.console import RunProgress, summary_table
from fedpriv.data.dataset import ImageDataset
from fedpriv.federated.checkpoint import Checkpoint
from fedpriv.federated.engines.launch import launch_inprocess
from fedpriv.federated.server_app import Outcome
from fedpriv.results import RoundResult
from fedpriv.scratch import private_folder
from fedpriv.tasks.base import Task
from fedpriv.training.parameters import FlatParameters
from fedpriv.types import FloatVector, Metrics


@dataclass(frozen=True)
class Report:
    """What a run found.

    Attributes:
        metric: name of the metric that the task is judged by.
        history: every round, from round 0.
        baseline: the task's metrics without learning.
        parameters: the final model.
        mlflow_run_id: where it is tracked, or None.
        seconds: of the rounds with their evaluation, start-up and shutdown apart.
    """

    metric: str
    history: list[RoundResult]
    baseline: Metrics
    parameters: FloatVector
    mlflow_run_id: str | None
    seconds: float


class _Watch:
    """Passes a run's progress on to the terminal, MLflow and the checkpoint."""

    def __init__(self, progress: RunProgress, tracker: Any, checkpoint: Checkpoint | None) -> None:
        self._progress, self._tracker, self._checkpoint = progress, tracker, checkpoint
        self.times: list[float] = []

    def client_done(self, done: int, asked: int) -> None:
        self._progress.client_done(done, asked)

    def round_done(self, result: RoundResult, parameters: FloatVector) -> None:
        self.times.append(time.perf_counter())
        self._progress.round_done(result)
        if self._tracker is not None:
            self._tracker.log_round(result)
        if self._checkpoint is not None:
            self._checkpoint.save(result.number, parameters)


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
    config = _resolved(config)
    check(config)
    with _key_file(config) as key_file:
        config.secure.key_file = key_file
        text = to_json(config)
        task, training, test = build_data(text)
        baseline = task.baseline(training, test)
        backbone = build_backbone(text)
        parameters = FlatParameters(backbone)
        with (
            _tracker(config, overrides or [], output_dir) as tracker,
            RunProgress(task.metric.name, task.metric.label) as progress,
        ):
            if tracker is not None:
                tracker.log_baseline(baseline)
            checkpoint = None if output_dir is None else Checkpoint(output_dir, parameters.layout)
            watch = _Watch(progress, tracker, checkpoint)
            progress.start(config.federation.rounds)
            outcome = _launch(config, text, watch)
            progress.close()
            parameters.load(outcome.parameters)
            if tracker is not None:
                _log_results(config, task, training, test, backbone, outcome, baseline, tracker)
            report = Report(
                metric=task.metric.name,
                history=outcome.history,
                baseline=baseline,
                parameters=outcome.parameters,
                mlflow_run_id=None if tracker is None else tracker.run_id,
                seconds=watch.times[-1] - watch.times[0],
            )
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
            parameters=parameters.layout.size,
            tracking_uri=None if tracker is None else tracker.uri,
            experiment=config.tracking.experiment,
            run_id=report.mlflow_run_id,
        )
    return report


def _resolved(config: RunConfig) -> RunConfig:
    """Return a copy with a fresh run id and with paths that hold in any process."""
    resolved = typed(cast(DictConfig, config))
    resolved.run_id = secrets.token_hex(16)
    if isinstance(resolved.data.get("root"), str):
        resolved.data.root = str(Path(resolved.data.root).expanduser().resolve())
    return resolved


@contextmanager
def _key_file(config: RunConfig) -> Iterator[str | None]:
    """Make the run's key unless the configuration names one; it is gone after the run."""
    if config.secure.scheme is Scheme.plain or config.secure.key_file is not None:
        yield config.secure.key_file
        return
    with private_folder() as folder:
        path = folder / "federation.key"
        make_key(config, path)
        yield str(path)


@contextmanager
def _tracker(config: RunConfig, overrides: list[str], output_dir: Path | None) -> Iterator[Any]:
    if not config.tracking.enabled:
        yield None
        return
    from fedpriv.tracking.mlflow_logger import RunLogger

    plain = cast(
        dict[str, Any], OmegaConf.to_container(cast(DictConfig, config), resolve=True, enum_to_str=True)
    )
    with RunLogger.start(
        uri=config.tracking.uri,
        experiment=config.tracking.experiment,
        run_name=config.tracking.run_name or _run_name(config),
        artifact_root=None,
        config=plain,
        seed=config.seed,
        overrides=overrides,
        tags={"privacy_noise": config.privacy.noise.value, "engine": config.engine.name.value},
        parent_run_id=os.environ.get("FEDPRIV_PARENT_RUN_ID"),
        log_dir=output_dir,
    ) as logger:
        yield logger


def _caveat(config: RunConfig) -> str | None:
    seeded = config.privacy.unit is not PrivacyUnit.none and config.privacy.noise is NoiseSource.fast
    return "noise is seeded (privacy.noise=fast), so it protects nobody: research only" if seeded else None


def _run_name(config: RunConfig) -> str:
    task = str(config.task.get("_target_")).rsplit(".", 1)[-1].removesuffix("Task").lower()
    return f"{task}-{config.privacy.unit.value}-{config.secure.scheme.value}-seed{config.seed}"


def _launch(config: RunConfig, text: str, watch: _Watch) -> Outcome:
    outcomes: list[Outcome] = []
    server = server_app(text, (watch,), outcomes.append)
    nodes = config.federation.clients + (config.secure.scheme is not Scheme.plain)
    engine = config.engine
    if engine.name is EngineName.ray:
        from fedpriv.federated.engines.ray import run_on_ray

        # Flower's deadline is one for a whole cohort, queueing included: the client keeps its own
        client = client_app(text, config.federation.client_timeout_s)
        run_on_ray(server, client, nodes, engine.cpus_per_client, engine.gpus_per_client)
    else:
        launch_inprocess(
            server, client_app(text), "fedpriv.apps:client_app", text, nodes, engine.workers, engine.threads
        )
    if not outcomes:
        raise RuntimeError(f"engine {engine.name.value} ended without an outcome; see its log")
    return outcomes[0]


def _log_results(
    config: RunConfig,
    task: Task,
    training: ImageDataset,
    test: ImageDataset,
    backbone: nn.Module,
    outcome: Outcome,
    baseline: Metrics,
    tracker: Any,
) -> None:
    from fedpriv.tracking.plots import bytes_plot, epsilon_plot, metric_plot, seconds_plot

    metric, history = task.metric, outcome.history
    tracker.log_picture(
        metric_plot(history, metric.name, metric.label, baseline.get(metric.name), task.baseline_label),
        metric.name,
    )
    tracker.log_picture(bytes_plot(history), "bytes")
    tracker.log_picture(seconds_plot(history), "seconds")
    if any(result.epsilon is not None for result in history):
        tracker.log_picture(epsilon_plot(history), "epsilon")
    if config.evaluation.pictures:
        tracker.log_picture(task.draw(backbone, test, config.evaluation.pictures, config.seed), "predictions")
    if config.tracking.log_model:
        last = history[-1]
        statement = {
            "unit": config.privacy.unit.value,
            "epsilon": last.epsilon,
            "delta": last.delta,
            "data": training.name,
            "noise": config.privacy.noise.value if config.privacy.unit is not PrivacyUnit.none else None,
        }
        tracker.log_model(backbone, task.example(test), statement)
