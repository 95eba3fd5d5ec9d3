"""What every service tells of itself: health, typed refusals, OpenAPI, metrics that add up."""

import http.client
import json
import urllib.request

import pytest
from fastapi import Response
from prometheus_client.parser import text_string_to_metric_families

from fedpriv import __version__
from fedpriv.errors import UserError
from fedpriv.services.metrics import ServiceMetrics
from fedpriv.services.service import Refusal, Refused, refusals, telling
from fedpriv.services.settings import HttpLimits, ServiceSettings
from tests.services.serving import ECHO, Serving, echoing


def watching(settings: ServiceSettings):
    """Return the echo with levels and totals kept elsewhere, and two methods on one path."""
    app = echoing(settings)
    app.state.metrics.watch(lambda: {"open_things": 3, "held_bytes": 0})
    app.state.metrics.watch_totals("things", "Things by what became of them", lambda: {"kept": 2, "lost": 5})

    @app.get("/v1/both")
    async def read() -> Response:
        return Response()

    @app.delete("/v1/both")
    async def delete(number: int) -> Response:
        return Response()

    return app


@pytest.fixture(scope="module")
def serving():
    with Serving(HttpLimits(), app=watching) as started:
        yield started


def ask(serving: Serving, method: str, path: str, body: bytes = b"") -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", serving.port, timeout=10)
    try:
        connection.request(method, path, body)
        response = connection.getresponse()
        return (
            response.status,
            {name.lower(): value for name, value in response.getheaders()},
            response.read(),
        )
    finally:
        connection.close()


def metrics(serving: Serving) -> dict[tuple[str, str], float]:
    with urllib.request.urlopen(serving.url + "/metrics", timeout=10) as reply:  # noqa: S310 - ours
        text = reply.read().decode()
    return {
        (sample.name, ",".join(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_it_tells_its_health(serving) -> None:
    status, _, body = ask(serving, "GET", "/healthz")
    assert status == 200
    assert json.loads(body) == {"status": "ok", "service": "echo", "version": __version__}


@pytest.mark.parametrize("status", [401, 403, 409, 429, 503])
def test_a_refusal_has_a_status_a_cause_and_one_line(serving, status) -> None:
    found, headers, body = ask(serving, "POST", ECHO, f"!{status}no more".encode())
    assert (found, json.loads(body)) == (status, {"cause": "told", "detail": "no more"})
    assert headers.get("retry-after") == ("1" if status == 503 else None)


def test_what_no_route_takes_is_refused_alike(serving) -> None:
    status, _, body = ask(serving, "GET", "/nothing")
    assert (status, json.loads(body)["cause"]) == (404, "http")
    status, headers, body = ask(serving, "PUT", "/v1/both")
    assert (status, json.loads(body)["cause"]) == (405, "http")
    assert headers["allow"] == "DELETE, GET"  # of all routes at the path
    status, _, body = ask(serving, "DELETE", "/v1/both?number=x")
    assert (status, json.loads(body)["cause"]) == (422, "malformed")
    assert json.loads(body)["detail"].startswith("query.number: ")


def test_a_users_mistake_is_told_by_its_kind_and_counted() -> None:
    class Gone(UserError):
        pass

    counted = ServiceMetrics(())
    for error, told in (
        (Gone("a: is gone"), (404, "gone", "a: is gone")),
        (UserError("b: is none"), (400, "malformed", "b: is none")),
    ):
        with pytest.raises(Refused) as caught, telling(counted, {Gone: (404, "gone")}):
            raise error
        assert (caught.value.status, caught.value.cause, caught.value.detail) == told
    with telling(counted, {}):
        pass
    with pytest.raises(ZeroDivisionError), telling(counted, {}):
        raise ZeroDivisionError  # no user's mistake: not told, and no outcome
    with pytest.raises(Refused, match=r"^no more$"), telling(counted, {}, lambda error: "no more"):
        raise UserError("a secret path")
    lines = [
        each for each in counted.text().decode().splitlines() if each.startswith("fedpriv_records_total")
    ]
    assert sorted(each.removeprefix("fedpriv_records_total") for each in lines) == [
        '{outcome="answered"} 1.0',
        '{outcome="gone"} 1.0',
        '{outcome="malformed"} 2.0',
    ]


def test_every_status_that_a_service_refuses_with_can_be_documented() -> None:
    known = (400, 401, 403, 404, 408, 409, 413, 415, 422, 429, 431, 500, 503, 504)
    found = refusals(*known)
    assert set(found) == set(known)
    assert all(each["model"] is Refusal and each["description"] for each in found.values())
    assert set(refusals()) == {400, 408, 413, 431, 503}  # those of the limits, which every route has


def test_a_route_of_bytes_documents_its_answers_and_refusals(serving) -> None:
    _, _, body = ask(serving, "GET", "/openapi.json")
    route = json.loads(body)["paths"][ECHO]["post"]
    assert set(route["responses"]) == {"200", "400", "408", "413", "429", "431", "503"}
    refusal = {"$ref": "#/components/schemas/Refusal"}
    assert route["responses"]["429"]["content"]["application/json"]["schema"] == refusal
    octets = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
    assert route["responses"]["200"]["content"] == octets
    assert route["requestBody"] == {"required": True, "content": octets}


def test_metrics_count_requests_bytes_and_outcomes(serving) -> None:
    before = metrics(serving)
    for size in (10, 200):
        ask(serving, "POST", ECHO, bytes(size))
    ask(serving, "POST", ECHO, b"!409" + bytes(6))
    after = metrics(serving)

    def grown(name: str, label: str = "") -> float:
        return after[name, label] - before.get((name, label), 0.0)

    assert grown("fedpriv_requests_total", f"{ECHO},200") == 2
    assert grown("fedpriv_requests_total", f"{ECHO},409") == 1
    assert grown("fedpriv_body_bytes_total") == 220
    assert grown("fedpriv_records_total", "answered") == 3
    assert grown("fedpriv_request_seconds_count", ECHO) == 3
    assert after["fedpriv_requests_running", ""] == 1  # this one


def test_what_is_kept_elsewhere_is_shown(serving) -> None:
    found = metrics(serving)
    assert found["fedpriv_open_things", ""] == 3
    assert found["fedpriv_held_bytes", ""] == 0
    assert (found["fedpriv_things_total", "kept"], found["fedpriv_things_total", "lost"]) == (2, 5)


def test_paths_that_do_not_exist_make_no_series(serving) -> None:
    for number in range(5):
        assert ask(serving, "GET", f"/nothing/{number}")[0] == 404
    found = metrics(serving)
    assert found["fedpriv_requests_total", "other,404"] >= 5
    assert not any("nothing" in label for _, label in found)
