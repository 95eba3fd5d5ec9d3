"""After training: the global model served through relays on this machine, and asked by every client."""

import contextlib
import logging
import math
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from fedpriv.apps import client_app
from fedpriv.config.datasets import build_data
from fedpriv.config.schema import RunConfig
from fedpriv.data.dataset import ImageDataset
from fedpriv.errors import UserError
from fedpriv.federated.engines.launch import launch_inprocess
from fedpriv.federated.relayed import RelayedAnswers, RelayedReply, RelayedRequest, make_relayed_app
from fedpriv.relayed.asking import dealt, shown_of
from fedpriv.relayed.found import Found
from fedpriv.relayed.picture import draw_both
from fedpriv.relays.constellation import Constellation
from fedpriv.relays.plan import Layout, Plan
from fedpriv.scratch import private_folder
from fedpriv.serving.answers import Answer, decode_answer
from fedpriv.serving.image import GreyImage
from fedpriv.serving.sums import LENGTHS
from fedpriv.types import FloatVector

log = logging.getLogger("fedpriv")

_MOST_SHOWN = 48

_Shown = tuple[GreyImage, Answer | None, Answer]


def relayed_inference(
    config: RunConfig,
    text: str,
    folder: Path,
    parameters: FloatVector,
    evaluated: float,
    tracker: Any,
) -> Found:
    """Serve the model that ``folder`` holds, let all clients ask it, log what they found and compare.

    Guarantee:
        - Keys are made for this and are gone with it; no service stays behind. The services' logs are in
          ``folder/relays``.
        - What was found is logged before it is judged.

    Args:
        config: of the run.
        text: the same as JSON, with the folder of keys that clients have now.
        folder: the run's output folder, with its checkpoint: the model server reads the model there.
        parameters: the trained model, (P,), which clients infer with.
        evaluated: the task's metric as the run evaluated it last, for the record beside.
        tracker: where to log; None logs nothing.

    Raises:
        UserError: the services do not start or end, no client replies, images get no answer, or an answer is
            not that of local inference.
    """
    task, _, test = build_data(text)
    kind, relays = task.served_as or "", config.relays
    images = min(len(test), relays.images or len(test))
    shown = -(-min(config.evaluation.pictures, _MOST_SHOWN) // config.federation.clients)
    log.info("relays: %d clients ask about %d test images", config.federation.clients, images)
    with constellation(config, folder) as running:

        def request_of(client: int) -> RelayedRequest:
            settings = str(running.layout.client_settings(f"client-{client}"))
            return RelayedRequest(
                config.run_id or "", settings, kind, images, relays.in_flight, shown, parameters
            )

        answers = _ask_clients(config, text, request_of, _usable(kind, len(test), images, config))
        ended = running.ended()
        last = "" if ended is None else f"; {ended} has ended, see {folder / 'relays'}"
    found = Found.of(answers, kind, task.metric.name, evaluated)
    if tracker is not None:
        tracker.log_figures(found.figures)
        if some := _some(test, images, shown, config, answers):
            tracker.log_picture(draw_both(some), "relayed")
    _judge(found, config.federation.clients, f"{last}; the trained model is kept: `fedpriv resume {folder}`")
    return found


@contextmanager
def constellation(config: RunConfig, folder: Path) -> Iterator[Constellation]:
    """Run the services of a configuration; a client of them is ``client-N``, for each of the clients.

    Raises:
        UserError: one does not start.
    """
    plan = plan_of(config, folder)
    with private_folder() as scratch, Constellation(scratch / "relays", plan) as running:
        try:
            yield running
        finally:
            _keep_logs(running.layout, folder / "relays")


def plan_of(config: RunConfig, folder: Path) -> Plan:
    """Return the constellation that a configuration names, with the model that ``folder`` holds."""
    relays = config.relays
    return Plan(
        relays=relays.relays,
        shares=relays.shares,
        threshold=relays.threshold,
        clients=config.federation.clients,
        models=(str(folder),),
        client={"timeout_s": relays.timeout_s},
    )


def _keep_logs(layout: Layout, target: Path) -> None:
    try:
        target.mkdir(mode=0o700, exist_ok=True)
        for service in layout.urls:
            shutil.copy(layout.log(service), target)
    except OSError as error:
        log.warning("relays: their logs are not kept (%s)", error)


def _ask_clients(
    config: RunConfig,
    text: str,
    request_of: Callable[[int], RelayedRequest],
    usable: Callable[[int, RelayedReply], bool],
) -> RelayedAnswers:
    federation, engine = config.federation, config.engine
    finished: list[RelayedAnswers] = []
    app = make_relayed_app(
        federation.clients,
        request_of,
        usable,
        federation.start_timeout_s,
        federation.client_timeout_s,
        finished.append,
    )
    client = client_app(text)
    launch_inprocess(
        app, client, "fedpriv.apps:client_app", text, federation.clients, engine.workers, engine.threads
    )
    return finished[0]


def _usable(kind: str, test: int, images: int, config: RunConfig) -> Callable[[int, RelayedReply], bool]:
    def usable(client: int, reply: RelayedReply) -> bool:
        asked = len(dealt(test, images, config.federation.clients, client))
        whole = kind != "emotion" or sum(reply.relayed) == sum(reply.local) == reply.answered
        return reply.images == asked and len(reply.relayed) == LENGTHS[kind] and whole

    return usable


def _some(
    test: ImageDataset, images: int, shown: int, config: RunConfig, answers: RelayedAnswers
) -> list[_Shown]:
    """Return the images of which clients have shown their answers; what cannot be read is left out."""
    found: list[tuple[int, _Shown]] = []
    clients = config.federation.clients
    for client, reply in answers.replies.items():
        mine = dealt(len(test), images, clients, client)
        for place, (relayed, local) in zip(
            shown_of(len(mine), shown, clients, client), reply.shown, strict=False
        ):
            with contextlib.suppress(ValueError):
                said = decode_answer(relayed) if relayed else None, decode_answer(local)
                index = int(mine[place])
                found.append((index, (np.array(test.images[index][0]), *said)))
    found.sort(key=lambda each: each[0])
    return [each for _, each in found[:_MOST_SHOWN]]


def _judge(found: Found, clients: int, after: str) -> None:
    """Refuse what is not the local metric, seen by clients whose images were all answered."""
    failures = ", ".join(f"{cause} {count}" for cause, count in found.failures.items())
    if sum(found.failures.values()) == clients:
        raise UserError(f"relays: none of {clients} clients replied ({failures}){after}")
    if found.failures:
        log.warning(
            "relays: %d of %d clients replied (%s)", clients - sum(found.failures.values()), clients, failures
        )
    if found.lost:
        lost = ", ".join(f"{cause} {count}" for cause, count in found.lost.items())
        raise UserError(
            f"relays: {sum(found.lost.values())} of {found.images} images got no answer ({lost}){after}"
        )
    if found.differing or found.difference != 0.0 or math.isnan(found.difference):
        raise UserError(
            f"relays: {found.differing} of {found.images} answers are not those of local inference "
            f"({found.metric} {found.relayed.get(found.metric)} through the relays, "
            f"{found.local.get(found.metric)} local){after}"
        )
