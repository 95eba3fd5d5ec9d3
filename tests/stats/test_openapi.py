"""The server against its own OpenAPI (schemathesis): whatever is sent, nothing of it is a server's error."""

from collections import Counter

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from fedpriv.he.users.keys import UserKeys
from fedpriv.he.users.sets import parameter_set
from fedpriv.stats.service import StatsSettings, build_service

# numbers of tables are the server's own: neither refusal nor acceptance follows from the schema
EXCLUDED = [positive_data_acceptance, negative_data_rejection]


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    folder = tmp_path_factory.mktemp("openapi")
    (folder / "keys").mkdir(mode=0o700)
    UserKeys.make(parameter_set("table")).save(folder / "keys")
    return build_service(StatsSettings(key=folder / "keys" / "public.key", folder=folder / "store"))


def test_every_refusal_is_of_one_type(app):
    paths = app.openapi()["paths"]
    assert len(paths) == 8
    for path, methods in paths.items():
        for method, route in methods.items():
            bad = {status: each for status, each in route["responses"].items() if status >= "400"}
            assert {"400", "408", "413", "431", "503"} <= set(bad), (method, path)
            for each in bad.values():
                kinds = {"application/json": {"schema": {"$ref": "#/components/schemas/Refusal"}}}
                assert each["content"] == kinds, (method, path)


@pytest.mark.slow
def test_no_request_is_a_servers_error_and_every_answer_is_as_documented(app):
    seen: Counter[int] = Counter()

    def check(case):
        response = case.call_and_validate(excluded_checks=EXCLUDED)
        assert response.status_code < 500 or response.status_code == 503  # uploads are bounded
        seen[response.status_code] += 1

    for found in schemathesis.openapi.from_asgi("/openapi.json", app).get_all_operations():
        operation = found.ok()
        for mode in schemathesis.GenerationMode:
            test = given(operation.as_strategy(mode))(check)
            try:
                settings(
                    max_examples=10, deadline=None, database=None, suppress_health_check=list(HealthCheck)
                )(test)()
            except Unsatisfiable:  # nothing of the operation can be wrong
                assert mode is schemathesis.GenerationMode.NEGATIVE
    assert {200, 404, 422} <= set(seen)
