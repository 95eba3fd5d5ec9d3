"""The matching benchmark: the peer is called right, answers are checked, every figure is there."""

import math

import numpy as np
import pytest

from experiments.bench import match
from fedpriv.he.matching.opening import Answer


@pytest.fixture(scope="module")
def found():
    return match.compare(people=8, dim=4, many=4100, repeats=1, workers=2)


def test_the_workload_is_unit_vectors_with_the_worst_ones_among_them():
    rows = match.vectors(20, 16)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1)
    np.testing.assert_allclose(rows[0], 0.25)
    np.testing.assert_allclose(rows[1], -0.25)
    assert rows[3].tolist() == [1, *[0] * 15]
    assert 0.9 < rows[10] @ match.probe_of(rows, 10) < 1


@pytest.mark.parametrize(("name", "least", "most"), [("naive", 0, 1e-4), ("naive_scale_50", 0, 1e-7)])
def test_the_peers_distance_is_the_squared_one_to_its_precision(name, least, most):
    rows = match.vectors(20, 128)
    pair = match._Pair(*match.PEERS[name], rows[8], rows[9])
    assert pair._expected == pytest.approx(2 - 2 * rows[8] @ rows[9])
    assert least < pair.error() < most


def test_every_figure_is_there(found):
    for key in (
        "us_per_identity",
        "us_per_identity_plain_probe",
        "naive_us_per_pair",
        "naive_scale_50_us_per_pair",
        "request_ms",
        "open_ms",
    ):
        assert found[key] > 0
    assert (found["gallery"], found["dim"], found["cores"]) == (8, 4, 2)
    ratio = found["naive_us_per_pair"] / found["us_per_identity"]
    assert math.isclose(found["speedup"], ratio, rel_tol=0.01, abs_tol=0.1)
    large = found["large"]
    assert large["gallery"] == 4100
    # two blocks of 4 dimensions, 2 polynomials and 2 primes
    assert large["memory_bytes"] == 2 * found["gallery_memory_bytes"] == 2 * 4 * 4 * 8192 * 8
    assert large["resident_bytes"] > large["memory_bytes"]


def test_errors_are_those_of_all_modes(found):
    assert set(found["errors"]) == set(match.MODES)
    assert 0 < found["max_abs_error"] == max(found["errors"].values()) < 1e-8
    assert 0 < found["large"]["max_abs_error"] < 1e-8


def test_a_wrong_best_match_is_an_error_and_no_figure(monkeypatch):
    monkeypatch.setattr(match, "open_question", lambda *_: Answer("identify", ((0, 0),)))
    with pytest.raises(RuntimeError, match="the best match"):
        match.compare(people=8, dim=4, many=8, repeats=1, workers=1)
