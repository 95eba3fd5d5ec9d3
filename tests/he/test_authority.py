"""One holder and a shared symmetric key: large sums, keys and what the server does not have."""

import gc
import os
import pickle
import stat
import types
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tenseal import sealapi

from fedpriv.errors import UserError
from fedpriv.he.codec import Encoded, PayloadError, SumError
from fedpriv.he.keys import SecretKey
from fedpriv.he.registry import build_codec
from tests.he.parties import RUN, integer_sum, lift, phase, updates

FUZZ = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="session", params=["bfv", "ckks"])
def party(request, federation):
    return federation(request.param, "authority")


@pytest.mark.parametrize(("clients", "length"), [(100, 9000), (1000, 40)])
def test_the_integers_of_many_clients_are_exactly_their_sum(federation, clients, length):
    large = federation("bfv", "authority", max_clients=clients)
    vectors = updates(clients, length, seed=clients)
    assert np.array_equal(large.sum(vectors, seed=9), integer_sum(large.encoding.plan, vectors, seed=9))


@pytest.mark.parametrize(
    ("clients", "bits"),
    [(1, 2), (2, 16), (16, 24), (1000, 24)]
    + [pytest.param(*case, marks=pytest.mark.slow) for case in ((1000, 2), (1000, 16), (100, 12))],
)
def test_full_federations_at_both_ends_of_the_range_are_exact(federation, clients, bits):
    """All at the same end is the largest sum of digits; half and half must not carry either."""
    full = federation("bfv", "authority", max_clients=clients, bits=bits)
    top, plan = (1 << (bits - 1)) - 1, full.encoding.plan
    ends = np.resize(np.array([0.5, -0.5, -0.5], np.float32), (1, 3 * plan.values_per_slot))
    total = full.sum(np.repeat(ends, clients, axis=0))
    assert np.array_equal(total, np.sign(ends[0]).astype(np.int64) * top * clients * plan.step)
    half = np.full((clients // 2, 7), 0.5, np.float32)
    if 0 < len(half) < 100:
        assert not full.sum(np.concatenate([half, -half])).any()


def test_without_the_key_nothing_is_opened(party, tmp_path):
    with pytest.raises(UserError, match=r"shared\.key"):
        party.server.holder(tmp_path)
    with pytest.raises(UserError, match=r"shared\.key"):
        party.server.with_key_folder(tmp_path)


def test_no_key_hides_anywhere_in_what_the_server_holds(party):
    encoded = party.encode(updates(2, 5000))
    total = party.aggregate(encoded, 5000)
    total.open(party.answers(encoded, total))
    seen, waiting = set(), [party.server, total]
    while waiting:
        held = waiting.pop()
        if id(held) in seen or isinstance(held, type | types.ModuleType | types.FunctionType):
            continue
        seen.add(id(held))
        assert not isinstance(held, SecretKey | sealapi.SecretKey | sealapi.Decryptor | sealapi.Encryptor)
        waiting += gc.get_referents(held)
    assert len(seen) > 10


def test_the_key_file_is_private_and_its_name_goes_into_the_digest(tmp_path):
    codec = build_codec("bfv", 4)
    fingerprint = codec.make_shared_key(tmp_path / "shared.key")
    assert stat.S_IMODE((tmp_path / "shared.key").stat().st_mode) == 0o600
    with pytest.raises(UserError, match="exists already"):
        codec.make_shared_key(tmp_path / "shared.key")
    client = codec.with_key_folder(tmp_path)
    server = codec.with_public_key(b"", RUN, SimpleNamespace(shared_key=fingerprint))
    stranger = codec.with_public_key(b"", RUN, SimpleNamespace(shared_key="0" * 32))
    nobody = codec.with_public_key(b"", RUN, SimpleNamespace(shared_key=None))
    assert client.digest == server.digest == codec.holder(tmp_path).digest
    assert len({codec.digest, server.digest, stranger.digest}) == 3
    assert nobody.digest == codec.digest
    assert client.with_public_key(b"", RUN, SimpleNamespace(shared_key=None)) is client


def test_a_key_of_other_parameters_is_refused(tmp_path):
    build_codec("bfv", 4).make_shared_key(tmp_path / "shared.key")
    for other in (build_codec("bfv", 100), build_codec("ckks", 4)):
        with pytest.raises(UserError, match="made for other parameters"):
            other.with_key_folder(tmp_path)
        with pytest.raises(UserError, match="made for other parameters"):
            other.holder(tmp_path)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_forked_processes_encrypt_differently(party):
    """Errors that a fork repeats would cancel in a difference, which would tell the key."""
    vector = np.zeros(100, np.float32)
    party.client.encode(vector, np.random.default_rng(0))
    outputs = []
    for _ in range(2):
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                encoded = party.client.encode(vector, np.random.default_rng(0))
                with os.fdopen(writing, "wb") as file:
                    file.write(bytes(encoded.mask) + bytes(encoded.body))
            finally:
                os._exit(0)
        os.close(writing)
        with os.fdopen(reading, "rb") as file:
            data = file.read()
            outputs.append(Encoded(data[:32], data[32:], 0))
        os.waitpid(child, 0)
    assert outputs[0].mask != outputs[1].mask
    first, second = (
        np.array(lift(phase(party, [one]), party.encoding.wire().moduli), object) for one in outputs
    )
    # equal messages: the phases differ by the errors alone, and in most coefficients
    assert np.mean(first != second) > 0.8
    assert max(abs(first - second)) <= 44


def test_a_server_that_shows_one_body_as_the_sum_of_two_gets_nothing(party):
    """The holder adds the masks of all signed clients: what the server sends must match them."""
    encoded = party.encode(updates(3, 100))
    masks = [update.mask for update in encoded[:2]]
    for shown in ([encoded[0]], [encoded[1]], [encoded[2]], encoded, [encoded[0], encoded[0]]):
        with pytest.raises(SumError) as refusal:
            party.holders[0].open(masks, party.aggregate(shown, 100).body_sum(), 100)
        assert refusal.value.cause == "not_a_sum"


def test_sums_of_the_wrong_size_or_form_are_refused(party):
    mask = party.encode(updates(1, 10))[0].mask
    size = party.server.body_bytes(10)
    for bad, cause in ((b"", "truncated"), (bytes(size - 1), "truncated"), (bytes(size + 1), "oversized")):
        with pytest.raises(PayloadError) as refusal:
            party.holders[0].open([mask], bad, 10)
        assert refusal.value.cause == cause
    for bad, cause in ((b"\xff" * size, "malformed"), (bytes(size), "not_a_sum")):
        with pytest.raises(SumError) as unopened:
            party.holders[0].open([mask], bad, 10)
        assert unopened.value.cause == cause


@FUZZ
@given(seed=st.binary(min_size=32, max_size=32), noise=st.integers(0, 2**32))
def test_random_masks_and_sums_are_refused(party, seed, noise):
    wire = party.encoding.wire()
    body = np.random.default_rng(noise).integers(0, wire.moduli, wire.shape, dtype=np.uint64)
    with pytest.raises(SumError) as refusal:
        party.holders[0].open([seed], wire.pack(body), 10)
    assert refusal.value.cause == "not_a_sum"


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_answers_that_are_not_finite_are_refused(party, value):
    total = party.aggregate(party.encode(updates(1, 3)), 3)
    with pytest.raises(SumError) as refusal:
        total.open([np.array([0, value, 0]).tobytes()])
    assert refusal.value.cause == "not_a_sum"


@pytest.mark.parametrize("shift", [-1, 1])
def test_a_shifted_sum_of_bodies_tells_nothing_of_the_noise(federation, shift):
    """With almost half a step added to every c0, what crosses the rounding would tell the errors."""
    party = federation("bfv", "authority", max_clients=4)
    vectors = np.zeros((3, 100), np.float32)
    encoded = party.encode(vectors)
    total = party.aggregate(encoded, 100)
    wire, plan = party.encoding.wire(), party.encoding.plan
    honest = wire.unpack(total.body_sum())
    step = int(wire.moduli[0, 0]) // plan.plain_modulus
    masks = [item.mask for item in encoded]
    party.holders[0].open(masks, wire.pack(honest), 100)
    for size in (step // 2, step // 4, 1000):
        body = (honest.astype(object) + shift * size) % int(wire.moduli[0, 0])
        with pytest.raises(SumError, match=r"noise|not a sum") as refusal:
            party.holders[0].open(masks, wire.pack(body.astype(np.uint64)), 100)
        assert refusal.value.cause == "not_a_sum"


@pytest.mark.parametrize(("clients", "bits"), [(1, 16), (16, 16), (256, 16), (1000, 2)])
def test_the_noise_of_honest_sums_passes(federation, clients, bits):
    party = federation("bfv", "authority", max_clients=clients, bits=bits)
    vectors = updates(clients, 5, seed=3)
    assert np.array_equal(party.sum(vectors, seed=4), integer_sum(party.encoding.plan, vectors, seed=4))


@pytest.mark.parametrize(
    ("clients", "most"), [(16, 3.2), (38, 3.5), (100, 3.6), (256, 3.8), (257, 4.7), (1000, 4.9)]
)
def test_bytes_per_coordinate(clients, most):
    """Below float32 up to 256 clients in a sum: from 257 on two digits of 25 bits do not fit a slot."""
    codec = build_codec("bfv", clients)
    assert codec.body_bytes(1_100_000) + codec.mask_bytes(1_100_000) <= most * 1_100_000


def test_what_holds_the_secret_is_not_pickled(party):
    party.encode(updates(1, 3))
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(party.client._cipher)
