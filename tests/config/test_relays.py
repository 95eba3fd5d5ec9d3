"""relays=loopback: what it is refused for, and that a run without it knows nothing of it."""

import json

import numpy as np
import pytest
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from fedpriv.config.as_json import run_digest, to_json
from fedpriv.config.check_relays import MOST_CLIENTS, MOST_RELAYS, check_served
from fedpriv.config.checks import check
from fedpriv.config.compose import compose_run
from fedpriv.config.explain import explain
from fedpriv.data.dataset import ImageDataset
from fedpriv.errors import UserError
from fedpriv.relays.plan import Plan
from fedpriv.serving.image import LEAST_SIDE, MOST_SIDE
from fedpriv.tasks.gaze import GazeTask
from tests.config.small import SMALL

GAZE = ("task=gaze", "data.people=6", "data.images_per_person=4", "evaluation.test_subjects=2")
SMALL_GAZE = (*GAZE, "federation.clients=3", "tracking=none", "relays=loopback")
FACES = ("data.people=6", "data.images_per_person=4", "federation.clients=3", "evaluation.test_subjects=2")


def refusal(*overrides: str) -> str:
    try:
        check(compose_run(*overrides))
    except UserError as error:
        return str(error)
    except (HydraException, OmegaConfBaseException) as error:
        return explain(error)
    pytest.fail(f"{overrides}: not refused")


def test_gaze_and_emotion_are_accepted():
    check(compose_run(*SMALL_GAZE))
    check(compose_run("task=emotion", *FACES, "relays=loopback"))


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["mode=centralized"], "relays=loopback: it is clients who ask, mode=centralized has none"),
        (["engine=ray"], "relays=loopback: engine=ray is not supported; use engine=inprocess"),
        (["relays.relays=1"], "relays.relays=1: choose 2 to 26"),
        (["relays.shares=5"], "relays.shares=5: choose 2 to relays.relays=4"),
        (["relays.threshold=4"], "relays.threshold=4: choose 2 to relays.shares=3, or null"),
        (["relays.in_flight=0"], "relays.in_flight=0: choose 1 to 128"),
        (["relays.images=0"], "relays.images=0: must be at least 1, or null"),
        (["relays.timeout_s=0"], "relays.timeout_s=0.0: choose seconds up to 3600"),
        (["relays.timeout_s=nan"], "relays.timeout_s=nan: choose seconds up to 3600"),
        (["relays.shards=3"], "relays.shards: there is no such key; did you mean relays.shares?"),
        (["relays=cloud"], "relays=cloud: there is no such choice; choose one of loopback, none"),
        (["federation.clients=2000"], "federation.clients=2000: relays=loopback serves 1024; lower it"),
    ],
)
def test_it_is_refused_in_one_line(overrides, said):
    assert refusal(*SMALL_GAZE, *overrides).startswith(said)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (
            ["task=face", *FACES],
            "relays=loopback: FaceTask is not served, gaze and emotion are; use task=gaze",
        ),
        ([*SMALL], "relays=loopback: ClassificationTask is not served"),
    ],
)
def test_what_a_model_server_does_not_take_is_refused_before_training(overrides, said):
    assert refusal(*overrides, "relays=loopback").startswith(said)
    check(compose_run(*overrides))


@pytest.mark.parametrize("shape", [(3, 36, 60), (1, 96, 96), (1, 7, 60), (1, 16, 129)])
def test_images_that_no_share_holds_or_no_service_takes_are_refused(shape):
    targets, subjects = np.zeros((2, 2), np.float32), np.zeros(2, np.int64)
    photographs = ImageDataset("photographs", np.zeros((2, *shape), np.uint8), targets, subjects, ("a",))
    said = f"relays=loopback: data=photographs has images of {' x '.join(map(str, shape))}; give grey ones"
    with pytest.raises(UserError, match=said):
        check_served(compose_run(*SMALL_GAZE), GazeTask(), photographs)
    check_served(compose_run(*GAZE), GazeTask(), photographs)


def test_its_bounds_are_those_of_the_services():
    Plan(relays=MOST_RELAYS, clients=MOST_CLIENTS)
    with pytest.raises(UserError):
        Plan(relays=MOST_RELAYS + 1)
    with pytest.raises(UserError):
        Plan(clients=MOST_CLIENTS + 1)
    assert (LEAST_SIDE, MOST_SIDE) == (8, 128)


def test_clients_and_key_holders_are_told_the_same_with_and_without_relays():
    """What they sign, and whether a run can be resumed, does not depend on what is asked of it afterwards."""
    without, with_relays = compose_run(*SMALL_GAZE, "relays=none"), compose_run(*SMALL_GAZE)
    assert "relays" not in json.loads(to_json(without))
    assert to_json(with_relays) == to_json(without)
    assert run_digest(with_relays) == run_digest(without)
