"""Which images test a model, from the configuration; and heads too small for a client's people."""

import numpy as np
import pytest

from fedpriv.config.checks import check
from fedpriv.config.compose import compose_run
from fedpriv.config.datasets import hold_out, protocol_of
from fedpriv.config.schema import Protocol
from fedpriv.data.dataset import ImageDataset
from fedpriv.errors import UserError
from fedpriv.pairs import VerificationPairs


def dataset(**changes):
    return ImageDataset(
        name="tiny",
        images=np.zeros((8, 1, 2, 2), np.uint8),
        targets=np.arange(8),
        subjects=np.repeat(np.arange(4), 2),
        subject_names=("a", "b", "c", "d"),
        **changes,
    )


PAIRS = VerificationPairs(np.array([0]), np.array([1]), np.array([True]))
SPLIT = np.arange(8) > 5


@pytest.mark.parametrize(
    ("data", "protocol"),
    [
        (dataset(), Protocol.people),
        (dataset(held_out=SPLIT), Protocol.published),
        (dataset(pairs=PAIRS), Protocol.published),
    ],
)
def test_auto_is_the_published_split_where_there_is_one_else_unseen_people(data, protocol):
    assert protocol_of(compose_run("task=face"), data) is protocol


def test_a_split_can_be_declined_for_unseen_people():
    config = compose_run("task=face", "evaluation.protocol=people", "evaluation.test_subjects=1")
    training, test = hold_out(config, dataset(held_out=SPLIT))
    assert (len(training), len(test)) == (6, 2)


@pytest.mark.parametrize("protocol", ["people", "one_person", "folds"])
def test_nobody_trains_on_published_pairs(protocol):
    config = compose_run("task=face", f"evaluation.protocol={protocol}", "evaluation.folds=2")
    with pytest.raises(UserError, match=f"evaluation.protocol={protocol}: .*nothing to train on"):
        hold_out(config, dataset(pairs=PAIRS))


@pytest.mark.parametrize("mode", ["federated", "centralized"])
def test_more_people_than_codewords_are_refused_before_anything_is_trained(mode):
    config = compose_run(
        "task=face",
        f"mode={mode}",
        "data.people=7",
        "data.images_per_person=6",
        "evaluation.test_subjects=2",
        "federation.clients=2",
        "task.codewords=2",
    )
    with pytest.raises(UserError, match=r"task\.codewords=2: a client has [35] people"):
        check(config)
