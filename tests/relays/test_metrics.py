"""What every service tells of itself: health, typed OpenAPI, metrics that add up."""

import asyncio
import json
import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families

from fedpriv.relays.courier import Courier, NotDelivered
from fedpriv.services.outgoing import connections
from fedpriv.sharing.causes import Cause
from tests.relays.running import Running

SERVICES = ("model_server", "relay-a", "relay-d", "adversary", "gateway")


def get(running: Running, service: str, path: str) -> str:
    with urllib.request.urlopen(running.layout.urls[service] + path, timeout=10) as reply:  # noqa: S310 - ours
        return reply.read().decode()


def samples(running: Running, service: str) -> dict[tuple[str, str], float]:
    return {
        (sample.name, ",".join(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(get(running, service, "/metrics"))
        for sample in family.samples
    }


@pytest.mark.parametrize("service", SERVICES)
def test_every_service_tells_its_health(running: Running, service) -> None:
    found = json.loads(get(running, service, "/healthz"))
    assert (found["status"], found["service"]) == ("ok", service)


@pytest.mark.parametrize("service", SERVICES)
def test_every_route_documents_its_answers_and_refusals(running: Running, service) -> None:
    found = json.loads(get(running, service, "/openapi.json"))
    for path, methods in found["paths"].items():
        for method, route in methods.items():
            responses = route["responses"]
            assert route["description"], path
            assert any(status in responses for status in ("200", "204"))
            if path not in ("/healthz", "/metrics"):
                refusal = {"$ref": "#/components/schemas/Refusal"}
                for status in ("400", "408", "413", "431", "503"):
                    assert responses[status]["content"]["application/json"]["schema"] == refusal
            if method == "post":
                assert route["requestBody"]["required"]


def test_metrics_count_shares_images_and_refusals(running: Running, eyes) -> None:
    before = samples(running, "model_server")

    async def go() -> list[bytes | NotDelivered]:
        async with running.client("client-2") as client:
            asked = await asyncio.gather(*(client.ask(image) for image in eyes))
            session = await client.session()
            shares = session.seal(eyes[0], ("gaze",), session.ends_ms - 60_000).shares
            wrong = next(name for name in "abcd" if name not in {share.relay for share in shares})
            flipped = bytes([*shares[0].envelope[:-1], shares[0].envelope[-1] ^ 1])
            assert len(asked) == len(eyes)
            return [
                await client.courier(wrong).ask(shares[0].envelope),
                await client.courier(shares[0].relay).ask(flipped),
            ]

    refused = asyncio.run(go())
    assert [each[0] for each in refused] == [Cause.WRONG_RELAY, Cause.NOT_AUTHENTIC]
    after = samples(running, "model_server")

    def grown(name: str, label: str = "") -> float:
        return after[name, label] - before.get((name, label), 0.0)

    count = len(eyes)
    assert grown("fedpriv_shares_total", "complete") == grown("fedpriv_shares_total", "answered") == count
    assert grown("fedpriv_shares_total", "accepted") == 3 * count
    assert grown("fedpriv_shares_total", "wrong_relay") == grown("fedpriv_shares_total", "not_authentic") == 1
    assert grown("fedpriv_records_total", "answered") == 3 * count
    assert grown("fedpriv_requests_total", "/v1/sessions,200") == 1
    assert grown("fedpriv_inferred_images") == count
    assert after["fedpriv_partial_bytes", ""] == after["fedpriv_open_sets", ""] == 0
    assert after["fedpriv_request_seconds_count", "/v1/shares"] > 0


def test_a_courier_gives_every_item_an_end(running: Running) -> None:
    async def go() -> list[bytes | NotDelivered]:
        async with connections() as http:
            nowhere = Courier(http, "http://127.0.0.1:9/v1/shares")
            lost = await asyncio.gather(*(nowhere.ask(b"x") for _ in range(100)))
            await nowhere.close()
            garbage = Courier(http, running.layout.urls["relay-a"] + "/v1/shares")
            lost += await asyncio.gather(*(garbage.ask(b"x") for _ in range(3)))
            waiting = [asyncio.create_task(garbage.ask(b"x")) for _ in range(3)]
            await asyncio.sleep(0)
            await garbage.close()
            return [*lost, *await asyncio.gather(*waiting), await garbage.ask(b"x")]

    found = asyncio.run(go())
    assert len(found) == 107
    assert all(isinstance(each, NotDelivered) for each in found)
    assert {each.status for each in found[:100]} == {0}
    assert {each.status for each in found[100:103]} == {400}
