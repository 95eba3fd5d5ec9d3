"""Client and server as two processes: numpy's difference on every pixel."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedpriv.errors import UserError
from fedpriv.he.users.keys import UserKeys
from fedpriv.he.users.sets import SETS
from fedpriv.imagediff.client import DifferenceClient
from fedpriv.imagediff.protocol import PART

SHAPES = st.tuples(st.integers(1, 90), st.integers(1, 90), st.sampled_from([1, 3, 4]))


def exact(first, second):
    return second.astype(np.int16) - first


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(SHAPES, min_size=1, max_size=4), st.integers(0, 1 << 32), st.sampled_from([2, 4, 256]))
def test_batches_of_any_sizes_kinds_and_values_are_exact(client, shapes, seed, levels):
    generator = np.random.default_rng(seed)
    values = np.linspace(0, 255, levels).astype(np.uint8)
    pairs = [(generator.choice(values, shape), generator.choice(values, shape)) for shape in shapes]
    for found, (first, second) in zip(client.differences(pairs), pairs, strict=True):
        assert found.dtype == np.int16
        assert np.array_equal(found, exact(first, second))


def test_a_picture_of_many_requests_is_put_together_right(client, picture):
    # a bit more than two requests of 64 ciphertexts of 16,384 values
    shape = (1000, 1 + 2 * PART * 16_384 // 1000, 1)
    first, second = picture(*shape), picture(*shape)
    assert np.array_equal(client.difference(first, second), exact(first, second))


def test_small_pictures_share_ciphertexts(client, picture):
    before = client.sent_bytes
    client.difference(picture(1, 1, 1), picture(1, 1, 1))
    alone = client.sent_bytes - before
    client.differences([(picture(8, 8, 3), picture(8, 8, 3)) for _ in range(50)])
    # one ciphertext for each side either way; the first request carried the public key as well
    assert client.sent_bytes - before - alone < alone


def test_a_reference_is_kept_replaced_and_deleted(client, picture):
    door, window, now = picture(40, 50, 3), picture(30, 30, 1), picture(40, 50, 3)
    client.store_reference("door", door)
    assert client.reference("door").shape == (40, 50, 3)
    assert np.array_equal(client.difference_from("door", now), exact(door, now))
    client.store_reference("door", window)
    assert client.reference("door").shape == (30, 30, 1)
    with pytest.raises(UserError, match="reference door: 30 x 30 grey, and the picture is 50 x 40 RGB"):
        client.difference_from("door", now)
    client.forget("door")
    with pytest.raises(UserError, match="none of that name"):
        client.reference("door")


def test_a_reference_of_many_parts_is_compared_part_by_part(client, picture):
    shape = (1 + PART * 16_384 // 700, 700, 1)
    kept, now = picture(*shape), picture(*shape)
    client.store_reference("wide", kept)
    assert client.reference("wide").parts == 2
    assert np.array_equal(client.difference_from("wide", now), exact(kept, now))


def test_a_reference_is_its_owners_alone(server, client, picture):
    client.store_reference("mine", picture(4, 4, 1))
    with (
        DifferenceClient(server, UserKeys.make(SETS["images"])) as other,
        pytest.raises(UserError, match="none of that name under this key"),
    ):
        other.difference_from("mine", picture(4, 4, 1))


@pytest.mark.parametrize("name", ["", "../x", ".hidden", "a/b", "ä", "x" * 65, "a b"])
def test_names_that_are_paths_or_worse_are_refused(client, picture, name):
    with pytest.raises(UserError, match="letters, digits"):
        client.store_reference(name, picture(2, 2, 1))


def test_pictures_of_other_sizes_are_refused_before_anything_is_sent(client, picture):
    before = client.sent_bytes
    with pytest.raises(UserError, match="first picture of pair 1: 3 x 2 RGB"):
        client.differences([(picture(2, 2, 1), picture(2, 2, 1)), (picture(2, 3, 3), picture(3, 2, 3))])
    assert client.sent_bytes == before
    assert client.differences([]) == []


def test_keys_for_something_else_are_refused(server):
    with pytest.raises(UserError, match="pictures need one made by `fedpriv keys new images`"):
        DifferenceClient(server, UserKeys.make(SETS["faces"]))


def test_a_server_that_is_not_there_is_named(keys, picture):
    with (
        DifferenceClient("http://127.0.0.1:9", keys) as client,
        pytest.raises(
            UserError, match=r"http://127.0.0.1:9: .*refused; see that `fedpriv imagediff serve` runs"
        ),
    ):
        client.difference(picture(1, 1, 1), picture(1, 1, 1))
