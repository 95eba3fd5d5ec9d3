"""What the parties are told and refused, over real HTTP."""

import dataclasses
import http.client
import json
import urllib.request

import numpy as np
import pytest

from fedpriv.errors import UserError
from fedpriv.faces.caller import Asking
from fedpriv.faces.cards import Caller
from fedpriv.faces.owner import Owner, admit
from fedpriv.faces.register import Register
from fedpriv.faces.signing import signed_headers
from fedpriv.he.identity import SigningKey
from fedpriv.he.users.keys import UserKeys
from fedpriv.he.users.sets import SETS
from fedpriv.services.service import now_ms
from tests.faces.running import THRESHOLD, Pictures, Running, faces


def near(vector, cosine, seed=3):
    """Return a unit vector of this cosine with another."""
    other = np.random.default_rng(seed).standard_normal(vector.shape)
    other -= (other @ vector) * vector
    other /= np.linalg.norm(other)
    return cosine * vector + np.sqrt(1 - cosine**2) * other


@pytest.mark.parametrize("plain", [True, False])
def test_a_face_is_accepted_as_its_own_person_and_as_nobody_else(running, plain):
    asking, vectors = running.asking(plain_probe=plain), running.pictures.vectors
    assert asking.verify("person 1", near(vectors[1], 0.8)).accepted is True
    assert asking.verify("person 2", near(vectors[1], 0.8)).accepted is False
    assert asking.verify("person 1", near(vectors[1], THRESHOLD - 0.05)).accepted is False


@pytest.mark.parametrize("plain", [True, False])
def test_the_best_match_is_named_and_a_stranger_is_nobody(running, plain):
    asking, vectors = running.asking(plain_probe=plain), running.pictures.vectors
    assert asking.identify(near(vectors[3], 0.9)).name == "person 3"
    stranger = next(each for each in faces(50, seed=9) if (vectors[:5] @ each).max() < THRESHOLD - 0.1)
    assert asking.identify(stranger).name is None


def test_answers_are_those_of_plain_matching(running):
    asking, vectors = running.asking(), running.pictures.vectors
    for probe in faces(30, seed=4):
        scores = vectors[:5] @ probe
        if np.abs(scores - THRESHOLD).min() > 0.01:
            expected = f"person {scores.argmax()}" if scores.max() > THRESHOLD else None
            assert asking.identify(probe).name == expected


def test_nothing_but_the_decision_is_told(running):
    answer = running.asking().verify("person 0", running.pictures.vectors[0])
    told = dataclasses.asdict(answer)
    assert {name for name, value in told.items() if value is not None} == {
        "accepted",
        "left",
        "sent_bytes",
        "received_bytes",
    }


def test_scores_are_refused_without_the_flag(running):
    with pytest.raises(
        UserError, match="scores are not told; the key holder was started without --raw-scores"
    ):
        running.asking().scores(running.pictures.vectors[0])


def test_unknown_people_and_other_dimensions_are_refused_in_one_line(running):
    with pytest.raises(UserError, match="nobody: nobody of that name is enrolled"):
        running.asking().verify("nobody", running.pictures.vectors[0])
    with pytest.raises(UserError, match="embedding of 3 numbers, the gallery's have 16"):
        running.asking().identify(np.array([1.0, 0.0, 0.0]))


def test_a_service_that_is_down_is_named(running):
    with pytest.raises(UserError, match=r"http://127.0.0.1:1: cannot be reached \(Connection refused\)"):
        Asking(running.caller, "http://127.0.0.1:1", running.keyholder)


def test_a_caller_of_another_gallery_is_refused_naming_both_keys(running, tmp_path):
    other = UserKeys.make(SETS["faces"])
    other_owner = tmp_path / "other"
    other_owner.mkdir(mode=0o700)
    other.save(other_owner)
    admit(other_owner, "elsewhere", tmp_path / "caller", None)
    with pytest.raises(UserError) as caught:
        running.asking(tmp_path / "caller")
    assert running.keys.fingerprint[:16] in str(caught.value)
    assert other.fingerprint[:16] in str(caught.value)


def test_a_card_that_the_owner_did_not_sign_is_refused(running, tmp_path):
    (tmp_path / "forged").mkdir(mode=0o700)
    Caller.make(SigningKey.generate()).save(tmp_path / "forged")
    (tmp_path / "forged" / "public.key").write_bytes(running.keys.public.to_bytes())
    with pytest.raises(UserError, match="no card of this caller by the owner"):
        running.asking(tmp_path / "forged")


def test_a_revoked_caller_gets_no_answer(running, tmp_path):
    admit(running.owner, "gone", tmp_path / "gone", None)
    asking = running.asking(tmp_path / "gone")
    assert asking.identify(running.pictures.vectors[0]).name == "person 0"
    Register(running.owner).revoke("gone")
    with pytest.raises(UserError, match="not admitted, or no longer"):
        asking.identify(running.pictures.vectors[0])


def post(url, path, body, headers):
    host, port = url.removeprefix("http://").split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=20)
    connection.request("POST", path, body, headers)
    response = connection.getresponse()
    found = response.status, response.read()
    connection.close()
    return found


def ticket_of(running, path, kind="application/json"):
    """Return a ticket that the server made for the caller."""
    caller = Caller.load(running.caller, running.keys.public.verify_key)
    body = json.dumps({"probe": running.pictures.vectors[0].tolist()}).encode()
    headers = signed_headers(caller, "POST", path, body, now_ms()) | {"content-type": kind}
    status, ticket = post(running.server, path, body, headers)
    assert status == 200, ticket
    return caller, ticket


def opened(running, caller, ticket):
    headers = signed_headers(caller, "POST", "/v1/open", ticket, now_ms())
    status, body = post(running.keyholder, "/v1/open", ticket, headers)
    return status, json.loads(body)


def test_a_ticket_is_opened_once(running):
    caller, ticket = ticket_of(running, f"/v1/identify?threshold={THRESHOLD}")
    assert opened(running, caller, ticket)[0] == 200
    status, body = opened(running, caller, ticket)
    assert (status, body["cause"]) == (409, "opened_before")


def test_another_callers_ticket_is_not_opened(running, tmp_path):
    _, ticket = ticket_of(running, f"/v1/identify?threshold={THRESHOLD}")
    admit(running.owner, "thief", tmp_path / "thief", None)
    thief = Caller.load(tmp_path / "thief", running.keys.public.verify_key)
    status, body = opened(running, thief, ticket)
    assert (status, body["cause"]) == (403, "not_yours")


def test_a_lower_threshold_is_not_decided_on(running):
    caller, ticket = ticket_of(running, "/v1/identify?threshold=-1")
    status, body = opened(running, caller, ticket)
    assert (status, body["cause"]) == (409, "other_threshold")


def test_a_changed_ticket_is_refused_before_it_costs_anything(running):
    caller, ticket = ticket_of(running, f"/v1/identify?threshold={THRESHOLD}")
    before = running.asking().identify(running.pictures.vectors[0]).left
    for position in (0, 70, len(ticket) // 2, len(ticket) - 1):
        changed = bytearray(ticket)
        changed[position] ^= 1
        status, body = opened(running, caller, bytes(changed))
        assert (status, body["cause"]) == (400, "not_opened")
        assert "not signed by the server" in body["detail"]
    assert running.asking().identify(running.pictures.vectors[0]).left == before - 1


def test_an_unsigned_or_repeated_request_is_refused(running):
    caller = Caller.load(running.caller, running.keys.public.verify_key)
    path = f"/v1/identify?threshold={THRESHOLD}"
    body = json.dumps({"probe": running.pictures.vectors[0].tolist()}).encode()
    json_type = {"content-type": "application/json"}
    assert post(running.server, path, body, json_type)[0] == 401
    headers = signed_headers(caller, "POST", path, body, now_ms()) | json_type
    assert post(running.server, path, body, headers)[0] == 200
    assert post(running.server, path, body, headers)[0] == 401
    late = signed_headers(caller, "POST", path, body, now_ms() - 120_000) | json_type
    assert post(running.server, path, body, late)[0] == 401
    other = signed_headers(caller, "POST", path, body, now_ms()) | json_type
    assert post(running.server, path, body + b" ", other)[0] == 401


def test_a_caller_may_not_do_what_the_owner_may(running):
    caller = Caller.load(running.caller, running.keys.public.verify_key)
    headers = signed_headers(caller, "POST", "/v1/people", b"x", now_ms())
    status, body = post(running.server, "/v1/people", b"x", headers)
    assert status == 401
    assert b"only the gallery's owner" in body


@pytest.mark.parametrize("probe", [[], [1.0], [2.0] + [0.0] * 15, [float("1e400")] * 16, "x", [True] * 16])
def test_a_plain_probe_that_is_none_is_refused(running, probe):
    caller = Caller.load(running.caller, running.keys.public.verify_key)
    path = f"/v1/identify?threshold={THRESHOLD}"
    body = json.dumps({"probe": probe}).encode()
    headers = signed_headers(caller, "POST", path, body, now_ms()) | {"content-type": "application/json"}
    assert post(running.server, path, body, headers)[0] == 400


@pytest.mark.parametrize("url", ["server", "keyholder"])
def test_services_say_that_they_run_and_describe_themselves(running, url):
    def get(path):
        with urllib.request.urlopen(getattr(running, url) + path, timeout=10) as reply:  # noqa: S310
            return reply.read()

    assert json.loads(get("/healthz"))["status"] == "ok"
    assert b"fedpriv_requests" in get("/metrics")
    described = json.loads(get("/openapi.json"))
    for path, methods in described["paths"].items():
        for method, route in methods.items():
            assert "200" in route["responses"], (path, method)
            assert route["responses"]["503"]["content"]["application/json"]["schema"]["$ref"].endswith(
                "Refusal"
            )


def test_the_server_has_no_way_to_decrypt(running):
    found = [path for path in running.gallery.rglob("*") if path.is_file()]
    assert not any(path.name == "secret.key" for path in found)
    with pytest.raises(UserError, match=r"secret\.key"):
        UserKeys.load(running.gallery)


def test_logs_hold_no_name_and_no_answer(running, caplog):
    with caplog.at_level("DEBUG", logger="fedpriv"):
        running.asking().verify("person 1", running.pictures.vectors[1])
        running.asking().identify(running.pictures.vectors[1])
    said = [
        json.dumps({"event": each.getMessage(), **getattr(each, "fields", {})}) for each in caplog.records
    ]
    assert any("opened" in each for each in said)
    assert not any("person 1" in each or "accept" in each or "name" in each for each in said)


@pytest.fixture
def own(tmp_path):
    """A gallery that a test may change."""
    started: list[Running] = []

    def start(**policy):
        started.append(Running(tmp_path / f"own{len(started)}", faces(40), **policy))
        return started[-1]

    yield start
    for each in started:
        each.stop()


def test_a_budget_is_kept_over_restarts(own, tmp_path):
    small = own(budget=3)
    small.enrol({"a": [0], "b": [1]})
    asking = small.asking()
    assert [asking.identify(small.pictures.vectors[0]).left for _ in range(3)] == [2, 1, 0]
    with pytest.raises(
        UserError, match=r"the budget of 3 openings in 24 hours is spent; one is free in 24\.0 h"
    ):
        asking.identify(small.pictures.vectors[0])
    from fedpriv.faces.holding import KeyHolder, KeyHolderSettings
    from fedpriv.faces.parties import Refusal

    again = KeyHolder(KeyHolderSettings(owner=small.owner, budget=3, threshold=THRESHOLD))
    caller, ticket = ticket_of(small, f"/v1/identify?threshold={THRESHOLD}")
    with pytest.raises(Refusal, match="is spent"):
        again.open(caller.card.caller, ticket, now_ms())


def test_raw_scores_with_the_flag_are_rounded_cosines(own):
    told = own(raw_scores=True)
    told.enrol({"a": [0], "b": [1], "c": [2, 3]})
    probe = near(told.pictures.vectors[0], 0.7)
    scores = told.asking().scores(probe).scores
    assert scores is not None
    both = told.pictures.vectors[2] + told.pictures.vectors[3]
    expected = [told.pictures.vectors[0], told.pictures.vectors[1], both / np.linalg.norm(both)]
    for name, vector in zip("abc", expected, strict=True):
        assert abs(scores[name] - vector @ probe) <= 2**-17 + 1e-6
        assert (scores[name] * 2**16).is_integer()


def test_a_deleted_person_is_gone_and_the_others_stay(own):
    some = own(budget=100)
    some.enrol({"a": [0], "b": [1], "c": [2]})
    before = {path.name for path in (some.gallery / "segments").iterdir()}
    assert some.as_owner().delete("b") == 2
    assert before.isdisjoint(path.name for path in (some.gallery / "segments").iterdir())
    asking, vectors = some.asking(), some.pictures.vectors
    assert asking.identify(vectors[1]).name is None
    assert [asking.identify(vectors[number]).name for number in (0, 2)] == ["a", "c"]
    with pytest.raises(UserError, match="nobody of that name"):
        asking.verify("b", vectors[1])
    some.enrol({"b": [4]})
    assert asking.identify(vectors[4]).name == "b"
    assert asking.identify(vectors[1]).name is None


def test_a_deletion_that_was_interrupted_is_ended_by_the_next(own, monkeypatch):
    some = own(budget=100)
    some.enrol({"a": [0], "b": [1], "c": [2]})

    def ends(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Owner, "_again", ends)
        with pytest.raises(KeyboardInterrupt):
            some.as_owner().delete("b")
    asking, vectors = some.asking(), some.pictures.vectors
    assert asking.identify(vectors[1]).name is None
    before = {path.name for path in (some.gallery / "segments").iterdir()}
    assert some.as_owner().delete("b") == 2
    assert before.isdisjoint(path.name for path in (some.gallery / "segments").iterdir())
    assert asking.identify(vectors[2]).name == "c"


def test_an_empty_gallery_of_other_embeddings_says_how_to_begin_another(own, tmp_path):
    some = own()
    wide = Pictures(faces(3, dimension=20))
    people = {"a": wide.files(tmp_path / "wide", 0)}
    with pytest.raises(UserError, match=r"nobody is enrolled yet: .*serve --folder NEW --dimension 20`"):
        some.as_owner().enrol(people, wide.embedder)
    some.enrol({"b": [0]})
    with pytest.raises(UserError, match="use the model that people were enrolled by"):
        some.as_owner().enrol(people, wide.embedder)


def test_a_damaged_register_is_the_owners_business_and_no_callers(own, caplog):
    some = own()
    some.enrol({"a": [0]})
    asking, register = some.asking(), some.owner / "faces" / "register.jsonl"
    register.write_bytes(register.read_bytes()[:-9])
    with caplog.at_level("DEBUG", logger="fedpriv"), pytest.raises(UserError) as caught:
        asking.identify(some.pictures.vectors[0])
    assert "cannot open anything now; its owner finds the reason in its log" in str(caught.value)
    assert str(some.owner) not in str(caught.value)
    assert any(str(register) in str(getattr(each, "fields", {})) for each in caplog.records)


def test_https_asked_of_a_plain_service_is_told_as_what_it_is(running):
    with pytest.raises(UserError, match=r"speaks no https here .*does the service listen with http\?"):
        Asking(running.caller, running.server.replace("http", "https"), running.keyholder)


def test_a_name_twice_and_another_model_are_refused(own):
    some = own()
    some.enrol({"a": [0]})
    with pytest.raises(UserError, match="a: is enrolled already"):
        some.enrol({"b": [1], "a": [2]})
    other = dataclasses.replace(some.pictures.embedder, digest="2" * 64)
    with pytest.raises(UserError, match="scores of two models cannot be compared"):
        some.as_owner().enrol({"c": some.pictures.files(some.owner.parent / "more", 3)}, other)


def test_who_the_server_took_and_the_register_does_not_know_is_no_answer(own, monkeypatch):
    some = own(budget=100)
    some.enrol({"a": [0]})

    def ends(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Register, "enrol", ends)
        with pytest.raises(KeyboardInterrupt):
            some.enrol({"b": [1]})
    assert some.asking().identify(some.pictures.vectors[1]).name is None
    some.enrol({"b": [1]})
    assert some.asking().identify(some.pictures.vectors[0]).name == "a"
