"""The server against its own OpenAPI (schemathesis): whatever is sent, nothing of it is a server's error."""

import json
import urllib.request
from collections import Counter

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from fedpriv.imagediff.client import DifferenceClient

# a schema says of bytes only that they are bytes: neither refusal nor acceptance follows from it
EXCLUDED = [positive_data_acceptance, negative_data_rejection]


def test_every_answer_has_a_type_and_every_refusal_the_same_one(server):
    with urllib.request.urlopen(f"{server}/openapi.json", timeout=10) as reply:  # noqa: S310 - ours
        found = json.load(reply)
    assert len(found["paths"]) == 7
    for path, methods in found["paths"].items():
        for method, route in methods.items():
            good = {status: each for status, each in route["responses"].items() if status < "300"}
            bad = {status: each for status, each in route["responses"].items() if status >= "400"}
            assert len(good) == 1, (method, path)
            assert {"400", "408", "413", "431", "503"} <= set(bad), (method, path)
            for each in good.values():
                assert all(kind["schema"] for kind in each["content"].values()), (method, path)
            for each in bad.values():
                assert each["content"] == {
                    "application/json": {"schema": {"$ref": "#/components/schemas/Refusal"}}
                }, (method, path)


@pytest.mark.slow
def test_no_request_is_a_servers_error_and_every_answer_is_as_documented(server, keys, picture, monkeypatch):
    """No 5xx; status, content type and body as documented; with bodies that the client made among them."""
    made = [keys.public.to_bytes()]
    with DifferenceClient(server, keys) as client:
        framed = client._requests.framed

        def kept(*given):
            request = framed(*given)
            made.append(request[1])
            return request

        monkeypatch.setattr(client._requests, "framed", kept)
        client.difference(picture(2, 2, 1), picture(2, 2, 1))
        client.store_reference("open", picture(2, 2, 1))
        client.difference_from("open", picture(2, 2, 1))
        client.forget("open")
        client.store_reference("open", picture(2, 2, 1))
    seen: Counter[int] = Counter()

    def check(case, body, query):
        if body is not None:
            case.body = body
            case.query = {name: value for name, value in query.items() if name in (case.query or {})}
        response = case.call_and_validate(excluded_checks=EXCLUDED)
        assert response.status_code < 500
        seen[response.status_code] += 1

    bodies = st.sampled_from(made) | st.binary(max_size=300)
    queries = st.fixed_dictionaries(
        {"key": st.sampled_from([keys.fingerprint, "00", "../x"]), "name": st.sampled_from(["open", "shut"])}
    )
    for found in schemathesis.openapi.from_url(f"{server}/openapi.json").get_all_operations():
        operation = found.ok()
        for mode in schemathesis.GenerationMode:
            takes = bodies if operation.body else st.none()
            test = given(operation.as_strategy(mode), st.none() | takes, queries)(check)
            try:
                settings(
                    max_examples=12 if operation.body else 4,
                    deadline=None,
                    database=None,
                    suppress_health_check=list(HealthCheck),
                )(test)()
            except Unsatisfiable:
                assert mode is schemathesis.GenerationMode.NEGATIVE  # nothing of such a route can be wrong
    assert {200, 400, 404, 422} <= set(seen), seen
