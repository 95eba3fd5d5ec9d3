"""What one client does: ask about its test images through the relays, and infer the same beside it."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedpriv.config.as_json import from_json
from fedpriv.config.datasets import build_data
from fedpriv.config.models import build_backbone
from fedpriv.federated.latencies import histogram
from fedpriv.federated.messages import MessageError
from fedpriv.federated.relayed import RelayedReply, RelayedRequest
from fedpriv.relays.blocking import BlockingClient
from fedpriv.relays.client import Asked, Unanswered
from fedpriv.relays.settings import ClientSettings
from fedpriv.serving.answers import encode_answer
from fedpriv.serving.image import GreyImage
from fedpriv.serving.model_set import ModelSet
from fedpriv.serving.models import Origin, ServedModel
from fedpriv.serving.sums import answer_sums
from fedpriv.training.parameters import FlatParameters
from fedpriv.types import FloatVector

NOT_ASKED = "not_asked"


def dealt(test: int, images: int, clients: int, client: int) -> NDArray[np.int64]:
    """Return which test images are a client's, ascending.

    ``images`` of all are taken at even distances, and dealt out in turn: so each client has as many as any
    other but for one, of nearly all people, whom no client trained on.

    Args:
        test: how many test images there are.
        images: how many are asked about.
        clients: how many clients.
        client: which, from 0.
    """
    taken = np.arange(images, dtype=np.int64) * test // max(1, images)
    return taken[client::clients]


def shown_of(count: int, shown: int, clients: int, client: int) -> list[int]:
    """Return of which of its ``count`` images a client shows both answers: at most ``shown``, spread out.

    Together the clients show the whole range, so that a picture has many people.
    """
    each = min(shown, count)
    return [(index * clients + client) * count // (each * clients) for index in range(each)]


def ask(text: str, client: int, settings: str, request: RelayedRequest) -> RelayedReply:
    """Ask about a client's test images through the relays, and infer on them here.

    Guarantee:
        - An image leaves this function in sealed shares only; the reply holds sums, and answers to
          ``request.shown`` images.
        - Relays that answer nothing any more are found out after one wave of ``request.in_flight`` images:
          those not asked about then are lost as ``not_asked``.

    Args:
        text: the run's configuration as JSON.
        client: its number.
        settings: path of its :class:`~fedpriv.relays.settings.ClientSettings`.
        request: what is asked for.

    Raises:
        UserError: settings, secret or images are not usable.
        MessageError: ``malformed`` for another model or kind than the run's, or more images than there are.
    """
    task, training, test = build_data(text)
    if request.kind != task.served_as or not 0 <= request.images <= len(test):
        raise MessageError("malformed")
    clients = from_json(text).federation.clients
    mine = dealt(len(test), request.images, clients, client)
    images = [np.array(test.images[int(index)][0]) for index in mine]
    models = ModelSet([_model(text, training.image_shape, request.parameters)])
    local = models.answer(images, [[request.kind]] * len(images))
    asked = _ask_relays(Path(settings), images, request)
    answered = [index for index, each in enumerate(asked) if isinstance(each, Asked)]
    found = [each for each in asked if isinstance(each, Asked)]
    targets = test.targets[mine[answered]]
    return RelayedReply(
        images=len(images),
        lost=Counter(each.cause for each in asked if isinstance(each, Unanswered)),
        differing=sum(each.answer != local[index] for index, each in zip(answered, found, strict=True)),
        relayed=answer_sums(request.kind, [each.answer for each in found], targets),
        local=answer_sums(request.kind, [local[index] for index in answered], targets),
        latencies=histogram(each.seconds for each in found),
        sent_bytes=sum(each.sent_bytes for each in found),
        received_bytes=sum(each.received_bytes for each in found),
        retries=sum(each.attempts - 1 for each in found),
        shown=tuple(
            (_encoded(asked[index]), encode_answer(local[index]))
            for index in shown_of(len(images), request.shown, clients, client)
        ),
    )


def _model(text: str, in_shape: tuple[int, ...], parameters: FloatVector) -> ServedModel:
    """Return the global model as a model server makes it ready."""
    task, _, _ = build_data(text)
    backbone = build_backbone(text)
    flat = FlatParameters(backbone)
    if parameters.shape != (flat.layout.size,):
        raise MessageError("malformed")
    flat.load(parameters)
    origin = Origin("the global model", "", {}, {})
    return ServedModel(task, json.loads(text)["model"], in_shape, backbone, origin)


def _ask_relays(settings: Path, images: list[GreyImage], request: RelayedRequest) -> list[Asked | Unanswered]:
    """Return what came of every image, in waves; a wave without one answer is the last."""
    asked: list[Asked | Unanswered] = []
    with BlockingClient(ClientSettings.read(settings)) as relays:
        for start in range(0, len(images), request.in_flight):
            wave = images[start : start + request.in_flight]
            came = relays.ask_many(wave, [request.kind], most_in_flight=request.in_flight)
            asked += came
            if not any(isinstance(each, Asked) for each in came):
                break
        relays.settle()
    return asked + [Unanswered(NOT_ASKED, "the images before it got no answer")] * (len(images) - len(asked))


def _encoded(asked: Asked | Unanswered) -> bytes:
    return encode_answer(asked.answer) if isinstance(asked, Asked) else b""
