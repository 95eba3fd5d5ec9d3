"""A client that lies to the server, and a server that lies to the client."""

import dataclasses
import http.client
import io
import json
import secrets
from urllib.parse import urlencode, urlsplit

import numpy as np
import pytest

from fedpriv.errors import UserError
from fedpriv.he.pictures.difference import encrypted
from fedpriv.he.users.cipher_heads import CipherHead
from fedpriv.he.users.cipher_reading import CipherReader
from fedpriv.he.users.cipher_writing import CipherStream
from fedpriv.he.users.evaluation import Evaluation
from fedpriv.he.users.keys import UserKeys
from fedpriv.he.users.sets import SETS
from fedpriv.imagediff.client import DifferenceClient
from fedpriv.imagediff.connection import ServerConnection
from fedpriv.imagediff.protocol import CHANGES, DIFFERENCES, FORGET, KEYS, REFERENCES


def post(server, path, body, **query):
    address = urlsplit(server)
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=30)
    connection.request("POST", f"{path}?{urlencode(query)}", body)
    response = connection.getresponse()
    content = response.read()
    connection.close()
    return response.status, json.loads(content)


@pytest.fixture(scope="module")
def bodies(keys):
    encryptor = keys.encryptor()
    return [next(encrypted(encryptor, np.full(9, value, np.uint8))) for value in range(3)]


def cipher_set(keys, bodies, said, signed=True, shape=None):
    shape = shape or keys.encryptor().shape
    head = CipherHead(keys.set, keys.fingerprint, shape, len(bodies), said, signed)
    stream = CipherStream(head, keys.signer if signed else None)
    return b"".join([stream.head(), *map(stream.body, bodies), stream.tail()])


@pytest.fixture(scope="module")
def known(server, keys):
    assert post(server, KEYS, keys.public.to_bytes()) == (200, {"key": keys.fingerprint})
    return keys.fingerprint


PART = {
    "for": "reference",
    "name": "x",
    "made": 1,
    "part": 0,
    "parts": 1,
    "rows": 3,
    "columns": 3,
    "channels": 1,
}


@pytest.mark.parametrize(
    ("path", "said", "picked", "signed", "detail"),
    [
        (DIFFERENCES, {"for": "difference"}, [0, 1], False, "not signed"),
        (DIFFERENCES, {"for": "reference"}, [0, 1], True, "not for 'difference'"),
        (DIFFERENCES, {}, [0, 1], True, "not for 'difference'"),
        (DIFFERENCES, {"for": "difference"}, [0, 1, 2], True, "pairs expected"),
        (DIFFERENCES, {"for": "difference"}, [], True, "no ciphertexts"),
        (DIFFERENCES, {"for": "difference"}, [0, 0], True, "hide nothing"),
        (REFERENCES, PART, [0, 1], True, "2 ciphertexts in part 0 of 1"),
        (REFERENCES, {**PART, "parts": 2}, [0], True, "1 ciphertexts in part 0 of 2"),
        (REFERENCES, {**PART, "part": 1}, [0], True, "part 1 of 1"),
        (REFERENCES, {**PART, "name": "y"}, [0], True, "a part of y, sent as one of x"),
        (REFERENCES, {**PART, "rows": 1 << 60}, [0], True, "rows="),
        (REFERENCES, {**PART, "rows": True}, [0], True, "rows=True"),
        (REFERENCES, {**PART, "made": -1}, [0], True, "made=-1"),
        (REFERENCES, {**PART, "channels": "3"}, [0], True, "channels=3"),
        (REFERENCES, {**PART, "name": "../../x"}, [0], True, "letters, digits"),
        (CHANGES, {**PART, "for": "changes", "name": "y"}, [0], True, "compares with y"),
        (FORGET, {**PART, "for": "delete", "name": "y"}, [], True, "deletes y"),
        (FORGET, {**PART, "for": "changes"}, [], True, "not for 'delete'"),
    ],
)
def test_requests_that_lie_are_refused_in_one_line(
    server, keys, known, bodies, path, said, picked, signed, detail
):
    body = cipher_set(keys, [bodies[at] for at in picked], said, signed)
    status, found = post(server, path, body, key=known, name="x")
    assert (status, found["cause"]) == (400, "malformed")
    assert detail in found["detail"]
    assert "\n" not in found["detail"]


def test_every_damaged_byte_of_a_request_is_noticed(server, keys, known, bodies):
    body = cipher_set(keys, bodies[:2], {"for": "difference"})
    generator = np.random.default_rng(0)
    for at in [*range(0, 160, 9), *generator.integers(160, len(body), 15)]:
        damaged = bytearray(body)
        damaged[at] ^= 1 << int(generator.integers(8))
        assert post(server, DIFFERENCES, bytes(damaged), key=known)[0] == 400, at
    for size in (0, 3, 100, len(body) - 1):
        assert post(server, DIFFERENCES, body[:size], key=known)[0] == 400
    assert post(server, DIFFERENCES, body + b"x", key=known)[0] == 400


def test_nothing_is_kept_of_a_damaged_reference(server, store, keys, known, bodies):
    body = bytearray(cipher_set(keys, bodies[:1], {**PART, "name": "hurt"}))
    body[-70] ^= 1
    status, found = post(server, REFERENCES, bytes(body), key=known, name="hurt")
    assert (status, "signature" in found["detail"]) == (400, True)
    assert not list(store.glob("*/hurt"))


def test_another_owners_signature_is_not_taken(server, keys, known, bodies):
    stranger = UserKeys.make(SETS["images"])
    head = CipherHead(keys.set, keys.fingerprint, keys.encryptor().shape, 2, {"for": "difference"}, True)
    stream = CipherStream(head, stranger.signer)
    body = b"".join([stream.head(), *map(stream.body, bodies[:2]), stream.tail()])
    status, found = post(server, DIFFERENCES, body, key=known)
    assert (status, "signature" in found["detail"]) == (400, True)


@pytest.mark.parametrize("query", [{}, {"key": "00" * 32}, {"key": "../../etc"}, {"key": "x" * 70}])
def test_keys_that_are_not_known_are_refused(server, query):
    assert post(server, DIFFERENCES, b"", **query)[0] in (400, 404, 422)


@pytest.mark.parametrize("damage", ["empty", "other", "flipped"])
def test_public_keys_that_are_none_are_refused(server, keys, damage):
    whole = keys.public.to_bytes()
    flipped = bytearray(whole)
    flipped[5000] ^= 1
    body = {"empty": b"", "other": UserKeys.make(SETS["faces"]).public.to_bytes(), "flipped": bytes(flipped)}
    status, found = post(server, KEYS, body[damage])
    assert (status, found["cause"]) == (400, "malformed")


@pytest.mark.parametrize("path", [KEYS, DIFFERENCES, REFERENCES, CHANGES, FORGET])
def test_bodies_beyond_the_limit_are_refused_before_they_are_sent(server, path):
    address = urlsplit(server)
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=30)
    connection.putrequest("POST", path)
    connection.putheader("content-length", str((16 << 20) + 1))
    connection.endheaders()
    with connection.getresponse() as response:
        assert response.status == 413
    connection.close()


def lying(monkeypatch, keys, change):
    """Have answers to differences changed on their way."""
    right = ServerConnection.ask

    def ask(self, method, path, name, body):
        answer = right(self, method, path, name, body)
        if path != DIFFERENCES:
            return answer
        reader = CipherReader(io.BytesIO(answer), keys.public, source="answer", most=64)
        ciphertexts = list(reader)
        head, changed = change(reader.head, ciphertexts)
        evaluation = Evaluation(keys.public)
        stream = CipherStream(dataclasses.replace(head, count=len(changed)))
        return b"".join(
            [stream.head(), *(stream.body(evaluation.dump(each)) for each in changed), stream.tail()]
        )

    monkeypatch.setattr(ServerConnection, "ask", ask)


def off_by_one_value(keys, at, by):
    evaluation = Evaluation(keys.public)
    slots = np.zeros(4096, np.int64)
    slots[at] = by

    def change(head, ciphertexts):
        return head, [evaluation.add_plain(each, evaluation.integers(slots)) for each in ciphertexts]

    return change


@pytest.mark.parametrize(
    ("at", "by"), [(0, 101), (0, -156), (4000, 1), (0, 256), (0, 511**3 * 300), (0, -(511**4) // 2)]
)
def test_an_answer_that_is_no_difference_of_these_pictures_is_refused(monkeypatch, client, keys, at, by):
    lying(monkeypatch, keys, off_by_one_value(keys, at, by))
    first = second = np.full((10, 10, 1), 100, np.uint8)
    with pytest.raises(UserError, match="do not trust this server"):
        client.difference(first, second)


def test_the_answer_to_another_request_is_refused(monkeypatch, client, keys):
    def change(head, ciphertexts):
        return dataclasses.replace(
            head, metadata={**head.metadata, "nonce": secrets.token_hex(16)}
        ), ciphertexts

    lying(monkeypatch, keys, change)
    with pytest.raises(UserError, match="belongs to another request"):
        client.difference(np.zeros((2, 2, 1), np.uint8), np.zeros((2, 2, 1), np.uint8))


def test_an_answer_with_too_few_or_too_many_ciphertexts_is_refused(monkeypatch, client, keys, picture):
    first, second = picture(100, 100, 3), picture(100, 100, 3)
    for change in (lambda h, c: (h, c[:1]), lambda h, c: (h, c + c)):
        with monkeypatch.context() as patched:
            lying(patched, keys, change)
            with pytest.raises(UserError, match=r"another request|at most"):
                client.difference(first, second)


def test_a_server_that_is_something_else_is_named(keys, monkeypatch):
    for answer, said in (((200, b"<html>"), "no JSON object"), ((502, b"<html>"), "refuses (502)")):
        monkeypatch.setattr(ServerConnection, "_exchange", lambda *_, answer=answer: answer)
        with DifferenceClient("http://127.0.0.1:1", keys) as client, pytest.raises(UserError) as caught:
            client.reference("door")
        assert said in str(caught.value)
