"""Whether a run's model can be asked through relays when it is trained."""

from fedpriv.config.schema import EngineName, Mode, RunConfig
from fedpriv.data.dataset import ImageDataset
from fedpriv.data.emotions import EMOTIONS
from fedpriv.errors import UserError
from fedpriv.sharing.payload import DEFAULT_PAYLOAD_BYTES, HEADER_BYTES
from fedpriv.tasks.base import Task

MOST_RELAYS = 26
"""One per letter."""
MOST_IN_FLIGHT = 128
"""Half of the window of a session, so that a lost image does not hold up those after it."""
MOST_CLIENTS = 1024
_SIDES = range(8, 129)


def check_relays(config: RunConfig) -> None:
    """Refuse what needs no data to be refused.

    Raises:
        UserError: for the first impossible value or combination.
    """
    relays = config.relays
    if not relays.enabled:
        return
    if config.mode is not Mode.federated:
        lacks = "has none" if config.mode is Mode.centralized else "gives them no common model"
        raise UserError(
            f"relays=loopback: it is clients who ask, mode={config.mode.value} {lacks}; use mode=federated"
        )
    if config.engine.name is EngineName.ray:
        raise UserError("relays=loopback: engine=ray is not supported; use engine=inprocess")
    if not 2 <= relays.relays <= MOST_RELAYS:
        raise UserError(f"relays.relays={relays.relays}: choose 2 to {MOST_RELAYS}")
    if not 2 <= relays.shares <= relays.relays:
        raise UserError(f"relays.shares={relays.shares}: choose 2 to relays.relays={relays.relays}")
    if relays.threshold is not None and not 2 <= relays.threshold <= relays.shares:
        raise UserError(
            f"relays.threshold={relays.threshold}: choose 2 to relays.shares={relays.shares}, or null"
        )
    if not 1 <= relays.in_flight <= MOST_IN_FLIGHT:
        raise UserError(f"relays.in_flight={relays.in_flight}: choose 1 to {MOST_IN_FLIGHT}")
    if relays.images is not None and relays.images < 1:
        raise UserError(f"relays.images={relays.images}: must be at least 1, or null")
    if not 0 < relays.timeout_s <= 3600:
        raise UserError(f"relays.timeout_s={relays.timeout_s}: choose seconds up to 3600")
    if config.federation.clients > MOST_CLIENTS:
        raise UserError(
            f"federation.clients={config.federation.clients}: relays=loopback serves {MOST_CLIENTS}; lower it"
        )


def check_served(config: RunConfig, task: Task, test: ImageDataset) -> None:
    """Refuse tasks and images that a model server does not take.

    Raises:
        UserError: naming them.
    """
    if not config.relays.enabled:
        return
    named = str(config.task["_target_"]).rpartition(".")[2]
    if task.served_as is None:
        raise UserError(
            f"relays=loopback: {named} is not served, gaze and emotion are; use task=gaze or task=emotion"
        )
    if task.served_as == "emotion" and test.class_names != EMOTIONS:
        raise UserError(f"relays=loopback: data={test.name} has other classes than {', '.join(EMOTIONS)}")
    channels, height, width = test.image_shape
    most = DEFAULT_PAYLOAD_BYTES - HEADER_BYTES
    if channels != 1 or height not in _SIDES or width not in _SIDES or height * width > most:
        raise UserError(
            f"relays=loopback: data={test.name} has images of {channels} x {height} x {width}; give grey "
            f"ones, sides of {_SIDES[0]} to {_SIDES[-1]} and at most {most} pixels"
        )
