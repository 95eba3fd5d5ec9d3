"""The encryption benchmark: its peer is called right, its sums are checked, its figures are all there."""

import sys
from math import prod

import numpy as np
import pytest

from experiments.bench import _flare, he
from experiments.bench._cohort import Cohort, layer_shapes

SMALL = {"conv": (8, 3, 3, 3), "norm": (8,), "head": (2, 40)}


@pytest.fixture(scope="module")
def found():
    return he.compare(SMALL, clients=3, repeats=1)


def test_the_model_is_a_resnet_20_of_1_1_million_parameters():
    shapes = layer_shapes()
    assert sum(map(prod, shapes.values())) == 1_084_586
    assert len(shapes) == 65
    # 20 weighted layers: 19 convolutions of 3 x 3 and the head, besides two projections
    assert sum(shape[2:] == (3, 3) for shape in shapes.values()) == 19
    assert sum(shape[2:] == (1, 1) for shape in shapes.values()) == 2


def test_the_peers_mean_is_weighted_by_steps_and_the_server_cannot_read_it():
    clients, steps = 3, (5, 7, 40)
    layers = [
        {"wide": np.full((100, 50), 0.25 * client, np.float32), "bias": np.float32([client, -1])}
        for client in range(clients)
    ]
    with_key, without = _flare.provision()
    party, server = _flare.FlareClient(with_key), _flare.FlareServer(without)
    with _flare.without_warnings():
        for one, number in zip(layers, steps, strict=True):
            server.accept(party.encrypt(one, number), number)
        mean = party.decrypt(server.aggregate())
    expected = (0 * 5 + 1 * 7 + 2 * 40) / 52
    np.testing.assert_allclose(mean["wide"], np.full(5000, 0.25 * expected), atol=1e-6)
    np.testing.assert_allclose(mean["bias"], [expected, -1], atol=1e-6)
    with pytest.raises(ValueError, match="secret_key"):
        _flare.FlareClient(without).decrypt(server.aggregate())


def test_tenseals_warnings_do_not_follow_the_result(capfd):
    party = _flare.FlareClient(_flare.provision()[0])
    with _flare.without_warnings():
        party.encrypt({"wide": np.zeros(5000, np.float32)}, 1)
    sys.stdout.write("last\n")
    sys.stdout.flush()
    assert capfd.readouterr().out == "last\n"


def test_every_figure_is_there_for_every_way(found):
    ways = set(he.WAYS)
    for key in (
        "client_ns_per_param",
        "client_cpu_ns_per_param",
        "server_ns_per_param_per_client",
        "finish_ns_per_param",
        "decrypt_ns_per_param",
        "max_abs_error",
    ):
        assert set(found[key]) == ways
        assert all(value > 0 for value in found[key].values())
    assert set(found["bytes_per_param"]) == ways | {"float32"}
    assert set(found["holder_ns_per_param_per_client"]) == set(he.OURS)
    assert found["params"] == 8 * 3 * 9 + 8 + 80
    assert (found["clients"], found["repeats"], found["exact"]) == (3, 1, True)


def test_errors_stay_within_their_bounds(found):
    for way in he.OURS:
        assert 0 < found["max_abs_error"][way] < found["error_bound"] == 3 * found["step"]
    assert found["max_abs_error"]["nvflare_default"] < 1e-5


def test_a_committee_takes_as_long_as_its_slowest_holder():
    seconds = {"holder 0": 1.0, "holder 1": 3.0, "holder 2": 2.0, "holder 0_cpu": 5.0, "holder 1_cpu": 4.0}
    assert he.slowest(seconds, 3, "") == 3.0
    assert he.slowest(seconds, 2, "_cpu") == 5.0


def test_a_wrong_sum_is_an_error_and_no_figure(monkeypatch):
    right = Cohort.__init__

    def one_level_off(self, shapes, clients):
        right(self, shapes, clients)
        self.integers[0] += self.step

    monkeypatch.setattr(Cohort, "__init__", one_level_off)
    with pytest.raises(RuntimeError, match="not the sum"):
        he.compare(SMALL, clients=3, repeats=1)
