"""The services on real sockets: what comes back is what the model says, or one clear error."""

import asyncio
import io
import json
import urllib.error
import urllib.request

import numpy as np
import pytest
from PIL import Image

from fedpriv.errors import UserError
from fedpriv.relays.blocking import BlockingClient
from fedpriv.relays.client import RelayClient, Unanswered
from fedpriv.relays.plain import PlainClient
from fedpriv.relays.plan import Plan
from fedpriv.services.secret_files import write_secret
from fedpriv.serving.answers import as_dict
from fedpriv.serving.defaults import default_models
from tests.relays.running import Running, client_settings

BOTH = ("gaze", "emotion")


def ask_all(client: RelayClient, images, models=BOTH, times: int = 1):
    async def go():
        async with client:
            return await asyncio.gather(*(client.ask(image, models) for image in images * times))

    return asyncio.run(go())


def local(images, models=BOTH):
    return default_models().answer(images, [models] * len(images))


def test_answers_through_relays_are_the_models_own(running: Running, eyes) -> None:
    asked = ask_all(running.client(), eyes)
    assert [each.answer for each in asked] == local(eyes)
    assert all(len(set(each.relays)) == 3 and each.attempts == 1 for each in asked)


@pytest.mark.parametrize("models", [("gaze",), ("emotion",)])
def test_only_what_is_asked_for_is_answered(running: Running, eyes, models) -> None:
    assert [each.answer for each in ask_all(running.client(), eyes, models)] == local(eyes, models)


def test_many_images_at_once_each_get_their_own_answer(running: Running) -> None:
    generator = np.random.default_rng(3)
    images = [generator.integers(0, 256, (36, 60), dtype=np.uint8) for _ in range(300)]
    asked = ask_all(running.client(), images)  # more than half a window
    assert [each.answer for each in asked] == local(images)
    assert len({each.number for each in asked}) == 300
    assert {relay for each in asked for relay in each.relays} == set("abcd")


def test_any_threshold_of_shamir_shares_suffices_while_a_relay_is_down(tmp_path, eyes) -> None:
    with Running(tmp_path / "c", Plan(shares=4, threshold=3)) as running:
        running.stop("relay-b")
        assert [each.answer for each in ask_all(running.client(), eyes)] == local(eyes)


def test_the_direct_path_gives_the_same(running: Running, eyes) -> None:
    async def go():
        async with PlainClient(running.layout.urls["model_server"]) as client:
            return await asyncio.gather(*(client.ask(image) for image in eyes))

    assert [each.answer for each in asyncio.run(go())] == local(eyes)


def test_the_direct_path_is_closed_unless_asked_for(tmp_path, eyes) -> None:
    with Running(tmp_path / "c", Plan(relays=2, shares=2)) as running:

        async def go():
            async with PlainClient(running.layout.urls["model_server"]) as client:
                await client.ask(eyes[0])

        with pytest.raises(Unanswered, match="Not Found"):
            asyncio.run(go())


def test_code_without_an_event_loop_asks_too(running: Running, eyes) -> None:
    with BlockingClient(client_settings(running.layout)) as client:
        assert client.ask(eyes[0]).answer == local(eyes[:1])[0]
        assert [each.answer for each in client.ask_many(eyes, most_in_flight=2)] == local(eyes)
        with pytest.raises(UserError, match="is not served"):
            client.ask(eyes[0], ("age",))


def test_one_image_among_many_that_cannot_be_asked_for_is_one_clear_error(running: Running, eyes) -> None:
    with BlockingClient(client_settings(running.layout)) as client:
        with pytest.raises(UserError):
            client.ask_many([*eyes, np.zeros((5000, 5000), np.uint8)])
        assert [each.answer for each in client.ask_many(eyes)] == local(eyes)


def test_images_that_do_not_fit_are_refused_before_anything_is_sent(running: Running) -> None:
    for image in (np.zeros((7, 60), np.uint8), np.zeros((129, 60), np.uint8), np.zeros((128, 128), np.uint8)):
        with pytest.raises(UserError):
            ask_all(running.client(), [image])


def post(url: str, body: bytes, kind: str = "application/octet-stream", method: str = "POST"):
    request = urllib.request.Request(url, body, {"content-type": kind}, method=method)  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=30) as reply:  # noqa: S310 - ours
            return reply.status, json.loads(reply.read() or b"null")
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def png(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def test_the_gateway_answers_pictures(running: Running, eyes) -> None:
    url = running.layout.urls["gateway"] + "/v1/images"
    status, found = post(url, png(eyes[0]))
    assert status == 200
    assert found["answer"] == json.loads(json.dumps(as_dict(local(eyes[:1])[0])))
    assert set(found) == {"answer", "milliseconds", "attempts", "relays"}
    status, found = post(url + "?models=gaze", png(eyes[0]))
    assert status == 200
    assert set(found["answer"]) == {"gaze"}


def test_the_gateway_shrinks_what_is_too_large_for_a_payload(running: Running) -> None:
    large = np.random.default_rng(0).integers(0, 256, (300, 500), dtype=np.uint8)
    status, found = post(running.layout.urls["gateway"] + "/v1/images", png(large))
    assert status == 200
    assert set(found["answer"]) == set(BOTH)


@pytest.mark.parametrize(
    ("query", "body", "status", "cause"),
    [
        ("", b"no picture", 415, "picture"),
        ("", b"", 415, "picture"),
        ("?models=age", b"\x89PNG", 422, "models"),
        ("?models=", b"\x89PNG", 422, "models"),
        ("?models=" + "gaze," * 40, b"\x89PNG", 422, "malformed"),
    ],
)
def test_the_gateway_refuses_in_one_line(running: Running, query, body, status, cause) -> None:
    found = post(running.layout.urls["gateway"] + "/v1/images" + query, body)
    assert found[0] == status
    assert found[1]["cause"] == cause
    assert "\n" not in found[1]["detail"]


def test_a_client_that_is_not_enrolled_gets_one_clear_error(running: Running, eyes, tmp_path) -> None:
    write_secret(tmp_path / "other.key", bytes(32))
    unknown = running.client(key_id="00" * 8)
    wrong = running.client(secret_file=tmp_path / "other.key")
    for client, cause in ((unknown, "unknown_client"), (wrong, "not_authentic")):
        with pytest.raises(Unanswered, match="^" + cause) as caught:
            ask_all(client, eyes[:1])
        assert "\n" not in str(caught.value)


def test_a_server_with_another_key_is_not_believed(running: Running, eyes) -> None:
    with pytest.raises(Unanswered, match="not_authentic"):
        ask_all(running.client(server_public="11" * 32), eyes[:1])


def test_replayed_shares_are_refused_and_tell_the_adversary_nothing(running: Running, eyes) -> None:
    adversary = running.layout.urls["adversary"]
    assert post(adversary + "/v1/captured", b"", method="DELETE")[0] == 204
    ask_all(running.client("client-1"), eyes, times=3)
    _, captured = post(adversary + "/v1/captured", b"", method="GET")
    assert captured["count"] == len(captured["envelopes"]) > 0
    json_type = "application/json"
    status, replayed = post(adversary + "/v1/replay", b"{}", json_type)
    assert status == 200
    assert len(replayed) == captured["count"]
    assert {each["cause"] for each in replayed} == {"already_used"}
    assert post(adversary + "/v1/replay", b'{"indices": [99999999]}', json_type)[0] == 404
    assert post(adversary + "/v1/replay", b'{"indices": [-1]}', json_type)[0] == 422


def test_tls_everywhere_and_who_has_no_certificate_of_ours_is_not_spoken_to(tmp_path, eyes) -> None:
    with Running(tmp_path / "c", Plan(relays=2, shares=2, tls=True)) as running:
        assert all(url.startswith("https://") for url in running.layout.urls.values())
        assert [each.answer for each in ask_all(running.client(), eyes[:2])] == local(eyes[:2])
        with pytest.raises(Unanswered, match=r"unreachable: .*certificate"):
            ask_all(running.client(ca=None, timeout_s=0.5), eyes[:1])


def test_a_relay_does_not_speak_to_a_model_server_without_our_certificate(tmp_path, eyes) -> None:
    with Running(tmp_path / "c", Plan(relays=2, shares=2, tls=True)) as running:
        for name in ("relay-a", "relay-b"):
            settings = json.loads(running.layout.settings(name).read_text())
            running.layout.settings(name).write_text(json.dumps({**settings, "ca": None}))
            running.stop(name)
            running.start(name)
        with pytest.raises(Unanswered, match="busy: no session: the model server cannot be reached"):
            ask_all(running.client(timeout_s=0.5), eyes[:1])
