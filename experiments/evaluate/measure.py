"""Measures a saved model on its run's test part or on other data."""

import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from experiments.evaluate.saved_models import SavedModel
from fedpriv.config.as_json import to_json
from fedpriv.config.datasets import build_data, protocol_of
from fedpriv.config.saved import restored
from fedpriv.config.schema import Protocol, RunConfig
from fedpriv.data.dataset import ImageDataset
from fedpriv.errors import UserError
from fedpriv.tasks.base import Task
from fedpriv.types import Metrics

_PICTURES = 24


@dataclass(frozen=True)
class Evaluation:
    """What was measured.

    Attributes:
        source: where the model is from.
        run_id: its MLflow run, or None.
        data: name of the data that it was measured on.
        images: how many test images.
        people: how many people they show.
        protocol: how the test part was chosen; a published one in the words of the data's card.
        metric: name of the metric that the task is judged by.
        label: that metric for people, with its unit.
        metrics: the task's metrics.
        baseline: the same without learning; empty where it needs training images and there are none.
        baseline_label: what the baseline stands for.
        privacy: the model's privacy statement.
        epsilon_charged: what an unfinished run has charged to its data in all, where that is more than
            the model's epsilon; None where it is not.
        people_trained_on: how many of the people tested the model was trained on, as far as their
            names tell; None for other data than the run's.
    """

    source: str
    run_id: str | None
    data: str
    images: int
    people: int
    protocol: str
    metric: str
    label: str
    metrics: Metrics
    baseline: Metrics
    baseline_label: str
    privacy: dict[str, Any]
    epsilon_charged: float | None
    people_trained_on: int | None


def evaluate(saved: SavedModel, overrides: Sequence[str] = (), picture: Path | None = None) -> Evaluation:
    """Measure a saved model on the test part of its run's data, or of what ``overrides`` name.

    Guarantee:
        Without overrides the test part is the run's, image by image, and so are the metrics.

    Args:
        saved: the model.
        overrides: see :func:`fedpriv.config.saved.restored`.
        picture: where to draw predictions; None draws none.

    Raises:
        UserError: for data that cannot be loaded, or whose images or targets the model was not
            made for.
    """
    config = restored(saved.source, saved.config, overrides, saved.in_shape)
    if config.evaluation.pictures < 0:
        raise UserError(f"evaluation.pictures={config.evaluation.pictures}: must not be negative")
    task, training, test = build_data(to_json(config))
    task.check(test)
    _require_fit(saved, task, test)
    metrics = task.evaluate(saved.model, test)
    if picture is not None:
        count = config.evaluation.pictures or _PICTURES
        _write(task.draw(saved.model, test, count, config.seed), picture)
    return Evaluation(
        source=saved.source,
        run_id=saved.run_id,
        data=test.name,
        images=len(test),
        people=len(np.unique(test.subjects)),
        protocol=_protocol(config, test),
        metric=task.metric.name,
        label=task.metric.label,
        metrics=metrics,
        baseline=_baseline(task, training, test),
        baseline_label=task.baseline_label,
        privacy=saved.statement,
        epsilon_charged=saved.epsilon_charged,
        people_trained_on=_trained_on(saved, config, test),
    )


def _require_fit(saved: SavedModel, task: Task, test: ImageDataset) -> None:
    if tuple(saved.in_shape) != test.image_shape:
        sides = " x ".join(map(str, saved.in_shape))
        raise UserError(
            f"data={test.name}: its images are {' x '.join(map(str, test.image_shape))}, the model of "
            f"{saved.source} takes {sides} (channels, rows, columns); choose data, or settings of data, "
            "that give that"
        )
    with torch.inference_mode():
        outputs = saved.model(torch.from_numpy(task.example(test))).shape[1]
    needed = task.outputs(test)
    if needed is not None and needed > outputs:
        raise UserError(
            f"data={test.name}: needs {needed} outputs per image, the model of {saved.source} has {outputs}; "
            "choose data with the classes that it was trained on"
        )


def _baseline(task: Task, training: ImageDataset, test: ImageDataset) -> Metrics:
    """Return the baseline, {} where it needs training images and there are none."""
    if len(training):
        return task.baseline(training, test)
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore", RuntimeWarning)  # the mean of nothing
            found = task.baseline(training, test)
    except (ValueError, IndexError):  # the most frequent of nothing
        return {}
    return {name: value for name, value in found.items() if np.isfinite(value)}


def _protocol(config: RunConfig, test: ImageDataset) -> str:
    evaluation, protocol = config.evaluation, protocol_of(config, test)
    if protocol is Protocol.published:
        # the target is one that has been called: it stands in an allowed module
        module = str(config.data["_target_"]).rpartition(".")[0]
        card = getattr(import_module(module), "CARD", None)
        return "published" if card is None else f"published: {card.protocol}"
    if protocol is Protocol.one_person:
        return f"one_person: person {evaluation.fold}"
    if protocol is Protocol.folds:
        return f"folds: fold {evaluation.fold} of {evaluation.folds}"
    return f"people: {evaluation.test_subjects} drawn by seed {config.seed}"


def _trained_on(saved: SavedModel, config: RunConfig, test: ImageDataset) -> int | None:
    own = restored(saved.source, saved.config)
    if not _same_people(own.data, config.data):
        return None
    _, training, _ = build_data(to_json(own))
    return len(_people(training) & _people(test))


def _same_people(own: Any, other: Any) -> bool:
    """Tell whether two data sets' settings name people of one place alike, whatever else they say."""
    if own.get("root") is None or other.get("root") is None:
        return all(own.get(key) == other.get(key) for key in ("_target_", "root", "seed"))
    first, second = _place(own["root"]), _place(other["root"])
    # some loaders take a file or the folder that holds it
    inside = first == second.parent or second == first.parent
    return first == second or bool(inside and own["_target_"] == other["_target_"])


def _place(root: Any) -> Path:
    path = Path(str(root))
    try:
        return path.expanduser().resolve()
    except (OSError, RuntimeError, ValueError):  # no such user, links in a circle, no path at all
        return path


def _people(dataset: ImageDataset) -> set[str]:
    return {dataset.subject_names[subject] for subject in np.unique(dataset.subjects)}


def _write(picture: Image.Image, path: Path) -> None:
    try:
        with tempfile.TemporaryDirectory(prefix=".evaluate-", dir=path.parent) as folder:
            fresh = Path(folder, f"picture{path.suffix.lower()}")
            picture.save(fresh)
            fresh.replace(path)
    except OSError as error:
        raise UserError(f"--picture {path}: {error.strerror or error}; choose another place") from error
