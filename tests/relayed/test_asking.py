"""A client's query action over real relays: the answers of local inference, and nothing of the image."""

import json
import pickle
from contextlib import ExitStack
from dataclasses import replace

import numpy as np
import pytest

from fedpriv.apps import client_app
from fedpriv.config.as_json import to_json
from fedpriv.config.datasets import build_data
from fedpriv.config.models import build_backbone
from fedpriv.federated.engines import flower_private
from fedpriv.federated.engines.inprocess import InProcessGrid, SerialExecutor
from fedpriv.federated.messages import MessageError
from fedpriv.federated.relayed import RelayedRequest, make_relayed_app
from fedpriv.relayed.asking import NOT_ASKED, ask, dealt, shown_of
from fedpriv.relayed.found import Found
from fedpriv.relays.plan import Plan
from fedpriv.serving.answers import decode_answer
from fedpriv.serving.model_set import ModelSet
from fedpriv.serving.models import Origin, ServedModel
from fedpriv.serving.scores import score_answers
from fedpriv.serving.weights import save_weights
from fedpriv.sharing.payload import DEFAULT_PAYLOAD_BYTES, pack
from fedpriv.training.parameters import FlatParameters
from tests.conftest import TINY
from tests.relayed.wiretap import Wiretap
from tests.relays.running import Running

RUN = "ab" * 16
CLIENTS = 2


@pytest.fixture(scope="module")
def text():
    from fedpriv.config.compose import compose_run

    config = compose_run(*TINY, f"federation.clients={CLIENTS}")
    config.run_id = RUN
    return to_json(config)


@pytest.fixture(scope="module")
def parameters(text):
    return FlatParameters(build_backbone(text)).read()


@pytest.fixture(scope="module")
def constellation(text, tmp_path_factory):
    folder = tmp_path_factory.mktemp("relayed")
    task, training, _ = build_data(text)
    settings = json.loads(text)["model"]
    served = ServedModel(task, settings, training.image_shape, build_backbone(text), Origin("", "", {}, {}))
    save_weights(served, folder / "gaze.npz")
    plan = Plan(clients=CLIENTS, models=(str(folder / "gaze.npz"),), client={"timeout_s": 20.0})
    with Running(folder / "constellation", plan) as started:
        yield started


@pytest.fixture
def tapped(constellation, tmp_path):
    """The clients' settings with a wiretap before every relay."""
    with ExitStack() as stack:
        taps = {}
        for client in range(CLIENTS):
            path = constellation.layout.client_settings(f"client-{client}")
            plain = json.loads(path.read_text())
            for name, url in plain["relays"].items():
                if name not in taps:
                    taps[name] = stack.enter_context(Wiretap(url))
                plain["relays"][name] = taps[name].url
            plain["secret_file"] = str(path.parent / plain["secret_file"])
            (tmp_path / path.name).write_text(json.dumps(plain))
        yield tmp_path, taps


def request(folder, parameters, client=0, **changes):
    settings = str(folder / f"client-{client}.json")
    return replace(RelayedRequest(RUN, settings, "gaze", 32, 8, 3, parameters), **changes)


def serve(text, grid, request_of):
    found = []
    app = make_relayed_app(CLIENTS, request_of, lambda *_: True, 5.0, 60.0, found.append)
    app(grid=grid, context=flower_private.node_context(1, flower_private.SERVER_NODE_ID, {}))
    return found[0]


def test_what_clients_see_through_the_relays_adds_up_to_the_metric_of_all_images(text, parameters, tapped):
    folder, taps = tapped
    grid = InProcessGrid(SerialExecutor(client_app(text)), CLIENTS)
    answers = serve(text, grid, lambda client: request(folder, parameters, client))
    assert not answers.failures
    task, training, test = build_data(text)
    found = Found.of(answers, "gaze", task.metric.name, 0.0)
    assert (found.images, found.lost, found.differing) == (len(test), {}, 0) == (32, {}, 0)
    assert found.difference == 0.0
    # against the whole test set at once, and the run's own evaluation in float32
    served = ServedModel(
        task,
        json.loads(text)["model"],
        training.image_shape,
        build_backbone(text),
        Origin("", "", {}, {}),
    )
    images = [np.array(test.images[index][0]) for index in range(len(test))]
    together = ModelSet([served]).answer(images, [["gaze"]] * len(images))
    expected = score_answers(together, test.targets)[task.metric.name]
    assert found.relayed[task.metric.name] == pytest.approx(expected, abs=1e-9, rel=0)
    own = task.evaluate(build_backbone(text), test)[task.metric.name]
    assert found.relayed[task.metric.name] == pytest.approx(own, abs=1e-3)
    keys = {json.loads((folder / f"client-{client}.json").read_text())["key_id"] for client in range(2)}
    assert len(keys) == CLIENTS
    assert (found.sent_bytes, found.received_bytes) == (3 * 4236, 3 * 514)
    assert 0 < found.p50_ms <= found.p95_ms
    for client, reply in answers.replies.items():
        mine = dealt(32, 32, CLIENTS, client)
        for place, (relayed, local) in zip(shown_of(16, 3, CLIENTS, client), reply.shown, strict=True):
            assert decode_answer(relayed) == decode_answer(local) == together[mine[place]]

    # and no relay was sent a byte of any image
    sent = b"".join(bytes(tap.sent) for tap in taps.values())
    assert all(len(tap.sent) > 10_000 for tap in taps.values())
    seen = windows(sent)
    assert not any(windows(image.tobytes()) & seen for image in images)
    assert not any(
        windows(image.tobytes()) & windows(pickle.dumps(reply.to_content()))
        for image in images
        for reply in answers.replies.values()
    )
    in_clear = pack(images[5], (0,), DEFAULT_PAYLOAD_BYTES)  # the search finds what is there
    assert windows(images[5].tobytes()) & windows(sent + in_clear)


def windows(data: bytes, size: int = 12) -> set[bytes]:
    """All runs of ``size`` bytes but those of one value, which any protocol may hold."""
    found = {data[start : start + size] for start in range(len(data) - size + 1)}
    return {window for window in found if len(set(window)) > 2}


def test_another_model_behind_the_relays_is_noticed(text, parameters, constellation):
    changed = parameters.copy()
    changed[0] += 0.05
    folder, settings = constellation.layout.folder, str(constellation.layout.client_settings("client-0"))
    same, other = (ask(text, 0, settings, request(folder, vector)) for vector in (parameters, changed))
    assert (same.differing, same.relayed) == (0, same.local)
    assert other.differing == other.images == 16
    assert other.relayed != other.local


@pytest.mark.parametrize(
    "changes", [{"kind": "emotion"}, {"images": 33}, {"parameters": np.zeros(3, np.float32)}]
)
def test_what_is_not_of_this_run_is_malformed(text, parameters, constellation, changes):
    asked = replace(request(constellation.layout.folder, parameters), **changes)
    with pytest.raises(MessageError, match="malformed"):
        ask(text, 0, str(constellation.layout.client_settings("client-0")), asked)


def test_relays_that_are_gone_cost_one_wave(text, parameters, constellation, tmp_path):
    path = constellation.layout.client_settings("client-1")
    plain = json.loads(path.read_text())
    plain |= {"timeout_s": 0.5, "secret_file": str(path.parent / plain["secret_file"])}
    plain["relays"] = dict.fromkeys(plain["relays"], "http://127.0.0.1:9")
    (tmp_path / "gone.json").write_text(json.dumps(plain))
    reply = ask(text, 1, str(tmp_path / "gone.json"), request(tmp_path, parameters, in_flight=3))
    assert reply.lost == {"unreachable": 3, NOT_ASKED: 13}
    assert (reply.images, reply.answered, reply.relayed, sum(reply.latencies)) == (16, 0, (0,), 0)
    assert all(relayed == b"" and decode_answer(local).gaze for relayed, local in reply.shown)


@pytest.mark.parametrize(("test", "images", "clients"), [(10, 10, 3), (10, 4, 3), (7, 5, 9), (5, 0, 2)])
def test_images_are_dealt_out_once_each_and_evenly(test, images, clients):
    parts = [dealt(test, images, clients, client) for client in range(clients)]
    together = np.concatenate(parts)
    assert len(set(together.tolist())) == len(together) == images
    assert all(0 <= index < test for index in together)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    for client, part in enumerate(parts):
        places = shown_of(len(part), 3, clients, client)
        assert len(set(places)) == len(places) == min(3, len(part))
        assert all(0 <= place < len(part) for place in places)
