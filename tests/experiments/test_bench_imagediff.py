"""The benchmark of encrypted differences: both ways compute numpy's difference, and every figure is there."""

import json

import numpy as np
import pytest

from experiments.bench import imagediff
from experiments.bench import main as bench

SMALL = (30, 100, 3)


@pytest.fixture(scope="module")
def found():
    return imagediff.compare(SMALL, repeats=2)


def test_both_ways_are_measured_and_right(found):
    assert found["exact"] == {"ours": True, "ckks_vector": True, "ckks_vector_lean": True}
    assert found["max_abs_error"]["ours"] == 0
    for peer in ("ckks_vector", "ckks_vector_lean"):
        assert 0 < found["max_abs_error"][peer] < 1e-3
    for key in ("seconds", "encrypt_seconds", "subtract_seconds", "decrypt_seconds", "received_bytes"):
        assert set(found[key]) == set(imagediff.WAYS)
        assert all(value > 0 for value in found[key].values())
    assert found["over_http_seconds"] > 0


def test_bytes_and_ciphertexts_are_counted(found):
    # 9,000 values: one ciphertext of 16,384, and three vectors of 4,096, for each picture
    assert found["ciphertexts"] == {"ours": 1, "ckks_vector": 3, "ckks_vector_lean": 3}
    assert 2 * 27_712 < found["sent_bytes"]["ours"] < 2 * 27_712 + 1000
    # 2 polynomials of 8192 coefficients modulo 140 bits for each of 2 x 3 vectors, as SEAL compresses them
    assert 0.8 < found["sent_bytes"]["ckks_vector"] / (6 * 2 * 8192 * 140 / 8) < 1.4
    assert found["fewer_bytes_sent"]["ckks_vector"] > 2 * found["fewer_bytes_sent"]["ckks_vector_lean"] > 10


def test_a_wrong_difference_is_an_error_and_no_figure(monkeypatch):
    right = imagediff.opened
    monkeypatch.setattr(imagediff, "opened", lambda *given: right(*given) + np.int16(1))
    with pytest.raises(RuntimeError, match="not numpy's"):
        imagediff.compare((4, 4, 1), repeats=1)


def test_the_last_line_is_one_json_object(monkeypatch, capsys):
    monkeypatch.setattr(imagediff, "SHAPE", (4, 4, 1))
    bench(["imagediff", "--json", "--repeats", "1"])
    assert json.loads(capsys.readouterr().out.strip().splitlines()[-1])["values"] == 16
