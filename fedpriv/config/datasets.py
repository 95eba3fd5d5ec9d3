"""From a configuration to images: to train on, to test with, and each client's share of them."""

import json
from functools import lru_cache
from typing import cast

import numpy as np
from numpy.typing import NDArray
from omegaconf import OmegaConf

from fedpriv.config.as_json import from_json
from fedpriv.config.instantiate import instantiate
from fedpriv.config.schema import Protocol, RunConfig
from fedpriv.data import holdout
from fedpriv.data.dataset import ImageDataset
from fedpriv.errors import UserError
from fedpriv.tasks.base import Task


@lru_cache(maxsize=2)
def build_data(text: str) -> tuple[Task, ImageDataset, ImageDataset]:
    """Return the task, the images to train on, and those to test with."""
    config = from_json(text)
    # keyed by what decides it, so that a check and the run after it load the images once
    dataset = _load(json.dumps(OmegaConf.to_container(config.data), sort_keys=True))
    task = cast(Task, instantiate("task", config.task, kind=Task))
    training, test = hold_out(config, dataset)
    return task, training, test


def protocol_of(config: RunConfig, dataset: ImageDataset) -> Protocol:
    """Return which images test the model: ``evaluation.protocol``, with ``auto`` decided by the data.

    Raises:
        UserError: when the data are pairs to test with and nothing else.
    """
    chosen = config.evaluation.protocol
    if chosen is Protocol.auto:
        chosen = Protocol.published if holdout.publishes_split(dataset) else Protocol.people
    if dataset.pairs is not None and chosen is not Protocol.published:
        raise UserError(
            f"evaluation.protocol={chosen.value}: data={dataset.name} publishes pairs to test with and "
            "nothing to train on; use published"
        )
    return chosen


def hold_out(config: RunConfig, dataset: ImageDataset) -> holdout.Parts:
    """Return (images to train on, images to test with) as :func:`protocol_of` says."""
    evaluation, protocol = config.evaluation, protocol_of(config, dataset)
    if protocol is Protocol.one_person:
        return holdout.one_person(dataset, evaluation.fold)
    if protocol is Protocol.folds:
        return holdout.subject_fold(dataset, evaluation.fold, evaluation.folds)
    if protocol is Protocol.published:
        return holdout.published(dataset)
    return holdout.unseen_people(dataset, evaluation.test_subjects, config.seed)


@lru_cache(maxsize=1)
def _load(spec: str) -> ImageDataset:
    return cast(ImageDataset, instantiate("data", json.loads(spec), kind=ImageDataset))


def build_shares(config: RunConfig, training: ImageDataset) -> list[NDArray[np.int64]]:
    """Return each client's indices into the training images: what it trains on, and nothing else does.

    With ``evaluation.personalise`` without what it holds out of its own, see :func:`build_own`.
    """
    if config.evaluation.personalise.enabled:
        return [train for train, _ in build_own(config, training)]
    return _partition(config, training)


def build_own(config: RunConfig, training: ImageDataset) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Return, for each client, indices of its images to train on and of those that judge its own model.

    Raises:
        UserError: when a client has none to hold out.
    """
    held_out = config.evaluation.personalise.test_share
    return [
        holdout.own_images(training, share, held_out, config.seed, client)
        for client, share in enumerate(_partition(config, training))
    ]


def _partition(config: RunConfig, training: ImageDataset) -> list[NDArray[np.int64]]:
    return cast(
        list[NDArray[np.int64]],
        instantiate(
            "partition",
            config.partition,
            kind=list[NDArray[np.int64]],
            dataset=training,
            clients=config.federation.clients,
            seed=config.seed,
        ),
    )


def forget_data() -> None:
    """Free the images of the last configurations, where nothing is to be trained on them here."""
    build_data.cache_clear()
    _load.cache_clear()
