"""The digest of what clients start from: equal for what is sent alike, and for nothing else."""

import hashlib
import struct
import tracemalloc

import numpy as np
import pytest
from flwr.app import Message

from fedpriv.federated import messages
from fedpriv.federated.engines import flower_private
from fedpriv.federated.messages import TrainRequest
from fedpriv.federated.roster import Member, Roster
from fedpriv.federated.start import start_digest
from fedpriv.federated.strategy.fedprox import FedProx

from .conftest import RUN_DIGEST

RUN = bytes(range(32))
MODEL = np.array([0.0, 1.5, -2.0], np.float32)


def test_it_is_the_hash_of_the_documented_bytes():
    data = b"fedpriv-start-2\0" + RUN + struct.pack("<Q3f", 3, *MODEL) + b'{"a":1.0,"proximal-mu":0.1}'
    assert start_digest(RUN, MODEL, {"proximal-mu": 0.1, "a": 1}) == hashlib.sha256(data).digest()
    empty = hashlib.sha256(b"fedpriv-start-2\0" + RUN + bytes(8) + b"{}").digest()
    assert start_digest(RUN, np.zeros(0, np.float32), {}) == empty


def test_order_of_names_and_the_models_memory_do_not_count():
    expected = start_digest(RUN, MODEL, {"a": 1.0, "b": 2.0})
    assert start_digest(RUN, MODEL, {"b": 2, "a": 1}) == expected
    assert start_digest(RUN, np.repeat(MODEL, 2)[::2], {"a": 1.0, "b": 2.0}) == expected
    assert start_digest(RUN, MODEL.astype(">f4"), {"a": 1.0, "b": 2.0}) == expected


def test_another_configuration_counts_and_is_never_taken_for_parameters():
    expected = start_digest(RUN, MODEL, {})
    assert start_digest(RUN[::-1], MODEL, {}) != expected
    for size in (0, 31, 33, 64):
        with pytest.raises(ValueError, match=f"run: {size} bytes, 32 expected"):
            start_digest(bytes(size), MODEL, {})


@pytest.mark.parametrize(
    ("model", "settings"),
    [
        (np.zeros(3, np.float32), {"mu": 0.1}),
        (np.nextafter(MODEL, np.float32(9)), {"mu": 0.1}),
        (MODEL * np.float32([-1.0, 1.0, 1.0]), {"mu": 0.1}),  # -0.0
        (MODEL[::-1], {"mu": 0.1}),
        (MODEL[:2], {"mu": 0.1}),
        (np.append(MODEL, np.float32(0)), {"mu": 0.1}),
        (MODEL, {}),
        (MODEL, {"mu": np.nextafter(0.1, 1)}),
        (MODEL, {"mv": 0.1}),
        (MODEL, {"mu": 0.1, "more": 0.0}),
    ],
)
def test_any_other_model_or_setting_counts(model, settings):
    assert start_digest(RUN, model, settings) != start_digest(RUN, MODEL, {"mu": 0.1})


@pytest.mark.parametrize("settings", [{}, {"proximal-mu": 1e-3, "whole": 3, "large": 1e300}])
def test_what_a_client_receives_has_the_digest_of_what_was_sent(settings):
    request = TrainRequest("ab" * 16, 1, 0.5, settings, MODEL)
    received = TrainRequest.from_content(request.to_content(messages.pack_parameters(MODEL)))
    assert start_digest(RUN, received.parameters, received.settings) == start_digest(RUN, MODEL, settings)


def test_a_strategys_settings_are_in_the_digest_that_the_server_expects(session):
    flower_private.enter_task(1)
    strategy = FedProx(0.25)
    strategy.bind(session(roster=Roster((Member(0, 100, 10), Member(1, 101, 20)), ())))
    config = messages.ConfigRecord({"whole": 3})
    sent = strategy.configure_train(1, messages.pack_parameters(MODEL), config, None)
    for message in sent:
        assert isinstance(message, Message)
        received = TrainRequest.from_content(message.content)
        assert dict(received.settings) == {"proximal-mu": 0.25, "whole": 3.0}
        assert start_digest(RUN_DIGEST, received.parameters, received.settings) == strategy._current.start


def test_the_parameters_are_not_copied():
    model = np.frombuffer(bytes(1 << 22), "<f4")
    tracemalloc.start()
    try:
        start_digest(RUN, model, {})
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()
