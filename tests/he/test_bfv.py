"""Encrypted sums against plain integer sums, and what the server must not be able to do."""

import gc
import os
import types

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tenseal import sealapi

from fedpriv.errors import UserError
from fedpriv.he.bfv import BFVCodec
from fedpriv.he.codec import PayloadError, SumError
from fedpriv.he.keys import SecretKey, generate_key
from fedpriv.he.packing import NonFiniteUpdate, quantise
from fedpriv.he.parameters import seal_context
from fedpriv.he.sealio import SealBuffer


def updates(count, length, seed=0):
    return (np.random.default_rng(seed).standard_normal((count, length)) * 0.15).astype(np.float32)


def integer_sum(codec, vectors, seed):
    """Sum of the levels that clients with these generators send, minus the offsets."""
    plan = codec.plan
    levels = [quantise(vector, plan, np.random.default_rng([seed, i]))[0] for i, vector in enumerate(vectors)]
    return np.sum(levels, axis=0, dtype=np.int64) - len(vectors) * plan.offset


@pytest.mark.parametrize("length", [1, 8191, 8192, 8193, 20_001])
def test_the_decoded_sum_is_exactly_the_integer_sum_of_the_rounded_updates(client, server, length):
    """Encoding in blocks draws the same numbers as quantising the whole vector at once."""
    vectors = updates(3, length)
    total = server.aggregator(length)
    clipped = 0
    for index, vector in enumerate(vectors):
        encoded = client.encode(vector, np.random.default_rng([5, index]))
        clipped += encoded.clipped
        total.add(encoded.payload)
    decoded = client.decoder(3).decode_sum(total.result(), total.count, length)
    assert clipped == np.count_nonzero(np.abs(vectors) > 0.5)
    assert np.array_equal(decoded, integer_sum(client, vectors, 5) * client.plan.step)


@pytest.mark.parametrize("bits", [2, 8, 16, 24])
@pytest.mark.parametrize("clients", [2, 5])
def test_every_packing_sums_within_the_rounding_error(bits, clients, random):
    keyless = BFVCodec(clients, bits=bits, value_range=1.5)
    codec = BFVCodec(clients, bits=bits, value_range=1.5, secret_key=generate_key(keyless.parameters))
    vectors = updates(clients, 5000)
    total = keyless.aggregator(5000)
    for vector in vectors:
        total.add(codec.encode(vector, random).payload)
    decoded = codec.decoder(2).decode_sum(total.result(), clients, 5000)
    assert np.abs(decoded - vectors.sum(axis=0, dtype=np.float64)).max() < clients * codec.plan.step


def test_a_full_federation_at_both_extremes_is_exact(client, server, random):
    vector = np.tile(np.array([0.5, -0.5], np.float32), 4100)
    total = server.aggregator(len(vector))
    for _ in range(8):
        total.add(client.encode(vector, random).payload)
    decoded = client.decoder(8).decode_sum(total.result(), 8, len(vector))
    assert np.array_equal(decoded, 8 * 32767 * client.plan.step * np.sign(vector))


def test_payloads_are_smaller_than_the_plain_update(client, random):
    length = 300_000
    payload = client.encode(updates(1, length)[0], random).payload
    assert len(payload) / length < 3.42
    assert len(payload) == client.max_payload_bytes(length)


def test_one_update_is_never_decoded(client, server, random):
    total = server.aggregator(10)
    total.add(client.encode(updates(1, 10)[0], random).payload)
    with pytest.raises(SumError) as refusal:
        client.decoder(2).decode_sum(total.result(), 1, 10)
    assert refusal.value.cause == "too_few_clients"
    with pytest.raises(UserError, match=r"secure\.min_clients=1"):
        client.decoder(1)


def test_more_updates_than_planned_are_refused(client):
    with pytest.raises(SumError) as refusal:
        client.decoder(2).decode_sum(b"", 9, 10)
    assert refusal.value.cause == "too_many_clients"


def test_another_key_of_the_same_parameters_is_recognised(client, server, random):
    other = BFVCodec(max_clients=8, secret_key=generate_key(server.parameters))
    total = server.aggregator(10)
    for vector in updates(2, 10):
        total.add(client.encode(vector, random).payload)
    with pytest.raises(SumError) as refusal:
        other.decoder(2).decode_sum(total.result(), 2, 10)
    assert refusal.value.cause == "not_a_sum"


def test_one_client_with_another_key_spoils_the_sum_visibly(client, server, random):
    other = BFVCodec(max_clients=8, secret_key=generate_key(server.parameters))
    total = server.aggregator(10)
    for codec in (client, other):
        total.add(codec.encode(updates(1, 10)[0], random).payload)
    with pytest.raises(SumError) as refusal:
        client.decoder(2).decode_sum(total.result(), 2, 10)
    assert refusal.value.cause == "not_a_sum"


def test_without_a_key_nothing_is_encoded_or_decoded(server, random):
    with pytest.raises(UserError, match=r"secure\.key"):
        server.encode(updates(1, 10)[0], random)
    with pytest.raises(UserError, match=r"secure\.key"):
        server.decoder(2)


def test_no_key_hides_anywhere_in_what_the_server_holds(client, server, random):
    total = server.aggregator(9000)
    total.add(client.encode(updates(1, 9000)[0], random).payload)
    seen, waiting = set(), [server, total]
    while waiting:
        held = waiting.pop()
        if id(held) in seen or isinstance(held, type | types.ModuleType | types.FunctionType):
            continue
        seen.add(id(held))
        assert not isinstance(held, SecretKey | sealapi.SecretKey | sealapi.Decryptor | sealapi.Encryptor)
        waiting += gc.get_referents(held)
    assert len(seen) > 10


def test_equal_updates_and_seeds_encrypt_differently(client, random):
    vector = updates(1, 10)[0]
    first, second = (client.encode(vector, np.random.default_rng(1)).payload for _ in range(2))
    assert first != second
    generator = seal_context(client.parameters).first_context_data().parms().random_generator()
    assert isinstance(generator, sealapi.Blake2xbPRNGFactory)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_forked_processes_encrypt_differently(client):
    """A generator that is copied by fork would repeat its masks, and the difference would be readable."""
    plaintext = sealapi.Plaintext("1")
    encryptor = client._secret_key.encryptor()
    outputs = []
    for _ in range(2):
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                with SealBuffer() as buffer:
                    os.write(writing, buffer.dump(encryptor.encrypt_symmetric(plaintext), 10**5)[-4096:])
            finally:
                os._exit(0)
        os.close(writing)
        with os.fdopen(reading, "rb") as file:
            outputs.append(file.read())
        os.waitpid(child, 0)
    assert len(outputs[0]) == 4096
    assert outputs[0] != outputs[1]


@pytest.fixture
def running(client, server, random):
    """A sum of two updates that refused payloads must not change."""
    total = server.aggregator(10_000)
    for vector in updates(2, 10_000):
        total.add(client.encode(vector, random).payload)
    return total


def payload_of(client, length=10_000):
    return client.encode(updates(1, length)[0], np.random.default_rng(0)).payload


def assert_refused(total, payload, causes):
    before, count = total.result(), total.count
    with pytest.raises(PayloadError) as refusal:
        total.add(payload)
    assert refusal.value.cause in causes
    assert (total.result(), total.count) == (before, count)


def test_truncated_payloads_are_refused(client, running):
    payload = payload_of(client)
    for keep in (0, 3, 500, len(payload) // 2, len(payload) - 1):
        assert_refused(running, payload[:keep], {"truncated"})
    assert_refused(running, payload_of(client, 5000), {"truncated"})


def test_oversized_payloads_are_refused(client, running):
    payload = payload_of(client)
    for more in (1, 10**6):
        assert_refused(running, payload + bytes(more), {"oversized"})
    assert_refused(running, payload_of(client, 20_000), {"oversized"})


def test_a_fault_in_the_last_ciphertext_leaves_the_first_ones_unadded(client, running):
    payload = payload_of(client)
    half = len(payload) // 2
    assert_refused(running, payload[:half] + b"\xff" * half, {"malformed"})


def test_a_fault_in_the_very_first_payload_leaves_an_empty_sum(client, server):
    total = server.aggregator(10_000)
    payload = payload_of(client)
    half = len(payload) // 2
    with pytest.raises(PayloadError):
        total.add(payload[:half] + b"\xff" * half)
    with pytest.raises(ValueError, match="nothing was added"):
        total.result()
    total.add(payload)
    assert total.count == 1


def test_a_sum_is_not_accepted_as_an_update(client, running):
    assert_refused(running, running.result(), {"oversized"})


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(damage=st.lists(st.tuples(st.integers(0, 55_423), st.integers(0, 255)), min_size=1, max_size=300))
def test_random_damage_never_crashes_and_never_changes_a_refused_sum(client, running, damage):
    """Most damaged coefficients are coefficients still: finding them is the envelope's part."""
    payload = bytearray(payload_of(client))
    for offset, value in damage:
        payload[offset] = value
    before, count = running.result(), running.count
    try:
        running.add(bytes(payload))
    except PayloadError:
        assert (running.result(), running.count) == (before, count)
    else:
        assert running.count == count + 1


@settings(max_examples=40, deadline=None)
@given(noise=st.binary(max_size=300))
def test_random_bytes_are_refused(server, noise):
    total = server.aggregator(10)
    with pytest.raises(PayloadError):
        total.add(noise)
    assert total.count == 0


def test_whole_payloads_of_random_bytes_are_added_as_garbage_or_refused_but_never_crash(server):
    """Random coefficients exceed the 54-bit prime about once in 15 million: force both cases."""
    random = np.random.default_rng(2)
    total = server.aggregator(8193)
    size = server.max_payload_bytes(8193)
    for _ in range(20):
        total.add(random.integers(0, 128, size, dtype=np.uint8).tobytes())
    assert total.count == 20
    with pytest.raises(PayloadError):
        total.add(b"\xff" * size)
    assert total.count == 20


def test_a_sum_with_random_coefficients_is_recognised(client):
    garbage = np.random.default_rng(2).integers(0, 128, 55_296, dtype=np.uint8).tobytes()
    with pytest.raises(SumError) as refusal:
        client.decoder(2).decode_sum(garbage, 2, 10)
    assert refusal.value.cause == "not_a_sum"


@pytest.mark.parametrize("payload", [b"", bytes(55_295), bytes(55_297), b"\xff" * 55_296, bytes(55_296)])
def test_sums_of_the_wrong_size_or_form_are_refused(client, payload):
    """All zeros is a ciphertext that decrypts to zero under every key, and no sum of levels."""
    with pytest.raises(SumError) as refusal:
        client.decoder(2).decode_sum(payload, 2, 10)
    assert refusal.value.cause == ("not_a_sum" if payload == bytes(55_296) else "malformed")


def test_non_finite_updates_are_not_encrypted(client, random):
    for bad in (np.nan, np.inf):
        with pytest.raises(NonFiniteUpdate):
            client.encode(np.array([0.0, bad], np.float32), random)


@pytest.mark.parametrize("vector", [np.zeros(3), np.zeros((2, 2), np.float32), np.zeros(0, np.float32)])
def test_only_non_empty_float32_vectors_are_encoded(client, random, vector):
    with pytest.raises(ValueError, match="need a float32 vector"):
        client.encode(vector, random)
