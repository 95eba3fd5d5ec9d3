"""An update is held once by whoever makes, receives or opens it.

SEAL's own objects are not traced; they are those of single ciphertexts and do not grow with the model.
"""

import hashlib
import tracemalloc

import numpy as np
import pytest

from fedpriv.he.envelope import SIGNED_BYTES, Draft, Expected, Header, open_envelope
from fedpriv.he.identity import SigningKey
from tests.he.parties import RUN, integer_sum

LENGTH = 2_000_000
FEW = 3 << 20
"""Bytes that the handling of one ciphertext may take, and more."""


class Peak:
    """Bytes that were held at most inside of ``with``, beyond those held before."""

    def __enter__(self):
        tracemalloc.reset_peak()
        self._before = tracemalloc.get_traced_memory()[0]
        return self

    def __exit__(self, *_):
        self.bytes = tracemalloc.get_traced_memory()[1] - self._before


@pytest.fixture
def tracing():
    tracemalloc.start()
    yield
    tracemalloc.stop()


@pytest.mark.parametrize("keys", ["authority", "committee"])
def test_an_update_is_held_once_all_the_way(federation, tracing, keys):
    party, signer = federation("bfv", keys), SigningKey.generate()
    client, server = party.client, party.server
    vector = np.random.default_rng(0).normal(0, 0.1, LENGTH).astype(np.float32)
    sizes = {"mask_bytes": client.mask_bytes(LENGTH), "body_bytes": client.body_bytes(LENGTH)}
    wire = SIGNED_BYTES + sum(sizes.values())
    said = {
        "scheme": client.scheme,
        "run_id": RUN,
        "round": 1,
        "client": 0,
        "parameters": LENGTH,
        "layout": hashlib.sha256(b"").digest(),
        "start": bytes(32),
        "codec": client.digest,
        "examples": 1,
        "weight": 1.0,
    }
    with Peak() as sealing:
        draft = Draft(**sizes)
        client.encode_into(vector, draft.mask, draft.body, np.random.default_rng([0, 0]))
        data = draft.seal(Header(**said), signer)
    assert wire == len(data) <= sealing.bytes < 1.05 * wire + FEW

    total = server.aggregator(LENGTH)
    with Peak() as receiving:
        envelope = open_envelope(data, Expected(**said, **sizes), signer.public, wire)
        server.check_mask(envelope.mask, LENGTH)
        total.add(envelope.body)
    assert receiving.bytes < FEW

    with Peak() as serialising:
        body_sum = total.body_sum()
    assert serialising.bytes < 1.05 * len(body_sum) + FEW

    sum_of_masks = 0 if keys == "authority" else total.finished().total.nbytes
    answers = []
    for holder in party.holders:
        with Peak() as opening:
            answers.append(holder.open([envelope.mask], body_sum, LENGTH))
        assert opening.bytes < 1.05 * (len(answers[-1]) + sum_of_masks) + FEW
    assert np.array_equal(total.open(answers), integer_sum(party.encoding.plan, vector[np.newaxis]))
