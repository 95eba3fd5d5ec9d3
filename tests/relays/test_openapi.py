"""Every service against its own OpenAPI (schemathesis): what is sent, nothing of it is a server's error."""

import json
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from fedpriv.relays import mac
from fedpriv.relays.plan import Plan
from fedpriv.services.secret_files import read_secret
from tests.relays.bodies import first_messages, now_ms, octets, pictures, sealed_shares
from tests.relays.running import Running

EXAMPLES = 10
OCTETS = "application/octet-stream"
# a schema says of bytes only that they are bytes: neither refusal nor acceptance follows from it
EXCLUDED = [positive_data_acceptance, negative_data_rejection]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Shares whose others never come are not waited for long."""
    plan = Plan(adversary=True, allow_plain=True, clients=3, server={"hold_s": 0.02, "set_timeout_s": 0.5})
    with Running(tmp_path_factory.mktemp("openapi") / "constellation", plan) as started:
        yield started


@pytest.fixture(scope="module")
def material(running: Running) -> tuple[list[bytes], list[bytes]]:
    return sealed_shares(running, "client-1", 40), first_messages(running, "client-2", 6)


def _bodies(media_type: str | None, material: tuple[list[bytes], list[bytes]]) -> st.SearchStrategy:
    if media_type == OCTETS:
        return octets(*material)
    return pictures() if str(media_type).startswith("image/") else st.none()


def document(running: Running, service: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"{running.layout.urls[service]}/openapi.json", timeout=10) as reply:  # noqa: S310
        return json.load(reply)


@pytest.mark.parametrize("service", ["relay-a", "model_server", "adversary", "gateway"])
def test_every_answer_has_a_type_and_every_refusal_the_same_one(running: Running, service) -> None:
    found = document(running, service)
    refusal = found["components"]["schemas"]["Refusal"]
    assert {name: each["type"] for name, each in refusal["properties"].items()} == {
        "cause": "string",
        "detail": "string",
    }
    for path, methods in found["paths"].items():
        for method, route in methods.items():
            place = f"{method} {path}"
            good = {status: each for status, each in route["responses"].items() if status < "300"}
            bad = {status: each for status, each in route["responses"].items() if status >= "400"}
            assert len(good) == 1, place
            assert {"400", "408", "413", "431", "503"} <= set(bad), place
            for status, each in good.items():
                kinds = each.get("content", {})
                assert bool(kinds) == (status != "204"), place
                assert all(kind["schema"] for kind in kinds.values()), place
            for each in bad.values():
                assert each["content"] == {
                    "application/json": {"schema": {"$ref": "#/components/schemas/Refusal"}}
                }, place


def test_a_method_that_a_path_lacks_is_refused_with_all_that_it_has(running: Running) -> None:
    request = urllib.request.Request(running.layout.urls["adversary"] + "/v1/captured", method="PUT")  # noqa: S310
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=10)  # noqa: S310 - ours
    with caught.value as reply:
        assert reply.code == 405
        assert reply.headers["allow"] == "DELETE, GET"
        assert set(json.load(reply)) == {"cause", "detail"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("service", "reached"),
    [
        ("relay-a", {200, 400}),
        ("model_server", {200, 400, 401}),
        ("adversary", {200, 204, 400, 404, 422}),
        ("gateway", {200, 415, 422}),
    ],
)
def test_no_request_is_a_servers_error_and_every_answer_is_as_documented(
    running: Running, material, service, reached
) -> None:
    """No 5xx; status, content type and body as in the OpenAPI document; ``reached``: not only the surface."""
    url = running.layout.urls[service]
    keys = {name: read_secret(running.layout.folder / f"relay-{name}.key", 32) for name in "abcd"}
    seen: Counter[int] = Counter()

    def check(case: schemathesis.Case, body: bytes | None, relay: str | None) -> None:
        headers = {}
        if body is not None:
            case.body = body
            if service == "model_server" and relay is not None:
                headers = mac.sign(relay, keys[relay], case.operation.path, body, now_ms())
        response = case.call_and_validate(headers=headers, excluded_checks=EXCLUDED)
        assert response.status_code < 500
        seen[response.status_code] += 1

    for found in schemathesis.openapi.from_url(f"{url}/openapi.json").get_all_operations():
        operation = found.ok()
        kinds = [each.media_type for each in operation.body] or [None]
        for mode in schemathesis.GenerationMode:
            bodies = st.none() | _bodies(kinds[0], material)
            test = given(operation.as_strategy(mode), bodies, st.sampled_from([None, *"aabcd"]))(check)
            try:
                settings(
                    max_examples=EXAMPLES * (3 if kinds[0] else 1),
                    deadline=None,
                    database=None,
                    suppress_health_check=list(HealthCheck),
                )(test)()
            except Unsatisfiable:
                assert mode is schemathesis.GenerationMode.NEGATIVE  # nothing of such a route can be wrong
    assert reached <= set(seen), seen
