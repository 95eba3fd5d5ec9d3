"""The key holder opens one sum per round, of enough clients, and nothing else."""

import numpy as np
import pytest

from fedpriv.federated.keyholder import release
from fedpriv.federated.messages import MessageError, ReleaseRequest
from fedpriv.he.bfv import BFVCodec
from fedpriv.he.keys import generate_key

SIZE = 300


@pytest.fixture(scope="module")
def parties():
    server = BFVCodec(max_clients=4, value_range=1.0)
    key = generate_key(server.parameters)
    client = BFVCodec(max_clients=4, value_range=1.0, secret_key=key)
    decoder = client.decoder(min_clients=2)
    return server, client, lambda payload, count: decoder.decode_sum(payload, count, SIZE)


def _sum(server, client, clients):
    random = np.random.default_rng(0)
    aggregator = server.aggregator(SIZE)
    total = np.zeros(SIZE)
    for _ in range(clients):
        update = random.uniform(-0.9, 0.9, SIZE).astype(np.float32)
        total += update
        aggregator.add(client.encode(update, random).payload)
    return aggregator.result(), total


def test_the_sum_is_opened_within_the_rounding_of_each_client(parties):
    server, client, open_sum = parties
    payload, total = _sum(server, client, 3)
    opened = release(open_sum, ReleaseRequest("", 1, 3, payload), set())
    assert np.abs(opened - total).max() <= 3 * client.plan.step


def test_a_second_sum_of_the_same_round_is_refused(parties):
    server, client, open_sum = parties
    payload, _ = _sum(server, client, 2)
    released: set[int] = set()
    release(open_sum, ReleaseRequest("", 1, 2, payload), released)
    with pytest.raises(MessageError, match="already_released"):
        release(open_sum, ReleaseRequest("", 1, 2, payload), released)
    release(open_sum, ReleaseRequest("", 2, 2, payload), released)


def test_a_refused_sum_uses_up_its_round_too(parties):
    _, _, open_sum = parties
    released: set[int] = set()
    with pytest.raises(MessageError, match="malformed"):
        release(open_sum, ReleaseRequest("", 1, 2, b"junk"), released)
    assert released == {1}


def test_a_single_clients_update_is_never_opened(parties):
    server, client, open_sum = parties
    payload, _ = _sum(server, client, 1)
    with pytest.raises(MessageError, match="too_few_clients"):
        release(open_sum, ReleaseRequest("", 1, 1, payload), set())


def test_the_servers_codec_holds_no_key(parties):
    server, _, _ = parties
    from fedpriv.errors import UserError

    with pytest.raises(UserError):
        server.decoder(min_clients=2)
