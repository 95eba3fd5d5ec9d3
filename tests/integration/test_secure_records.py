"""What a run with encrypted updates leaves on record: in MLflow, in the log and in the final table."""

import io
import logging
import math

import pytest
from mlflow import MlflowClient
from rich.console import Console

from fedpriv.runner import run
from fedpriv.tracking.run_reading import read_config

WHO = {
    (): "the server, one by one",
    ("secure=bfv",): "1 key holder, as sums only; clients share its key",
    ("secure=ckks",): "1 key holder, as sums only; clients share its key",
    ("secure=bfv_committee",): "3 key holders, together and as sums only",
    ("secure=ckks", "secure.keys=committee", "secure.holders=2"): "2 key holders, together and as sums only",
    ("secure=bfv", "secure.select=[convolutions.*]"): (
        "1 key holder, as sums only; clients share its key; the server, one by one, what is in clear"
    ),
    ("secure=bfv_committee", "secure.select_top=0.3"): (
        "3 key holders, together and as sums only; the server, one by one, what is in clear"
    ),
    ("secure=bfv", "secure.select=['*']"): "1 key holder, as sums only; clients share its key",
}


def table(console):
    rows = [line.split("│")[1:3] for line in console.file.getvalue().splitlines() if line.count("│") == 3]
    return {name.strip(): value.strip() for name, value in rows}


@pytest.mark.parametrize("overrides", WHO, ids=" ".join)
def test_the_final_table_says_who_reads_the_updates(tiny, overrides):
    console = Console(file=io.StringIO(), width=250)
    run(tiny(*overrides, "federation.rounds=1"), console=console)
    rows = table(console)
    assert rows["updates are read by"] == WHO[overrides]
    assert ("IN CLEAR" in rows) == ("in clear" in WHO[overrides])
    assert ("time: key holders make a key" in rows) == ("together" in WHO[overrides])


@pytest.fixture(scope="module")
def uri(tmp_path_factory, database):
    """One store for all runs."""
    return database(tmp_path_factory.mktemp("tracking") / "mlflow.db")


@pytest.fixture
def tracked(tiny, uri):
    """Run; return the report, the store's client and uri."""

    def execute(*overrides):
        more = ("tracking=mlflow", f"tracking.uri={uri}", "tracking.log_model=false")
        report = run(tiny(*more, "tracking.log_partition=false", "evaluation.pictures=0", *overrides))
        return report, MlflowClient(uri), uri

    return execute


BFV = {"secure.scheme": "bfv", "encryption.values_per_slot": "2", "encryption.poly_degree": "4096"}
COMMITTEE = {"secure.scheme": "bfv", "encryption.values_per_slot": "3", "encryption.poly_degree": "8192"}
CKKS = {"secure.scheme": "ckks", "encryption.values_per_slot": "1", "encryption.poly_degree": "8192"}
SMUDGING = {"secure.smudging_bits": "56", "encryption.smudging_bits": "56"}
USED = {
    ("secure=bfv",): {**BFV, "secure.holders": "1", "encryption.holders": "1"},
    ("secure=bfv_committee",): {**COMMITTEE, **SMUDGING, "secure.holders": "3", "encryption.holders": "3"},
    ("secure=ckks",): {**CKKS, **SMUDGING, "secure.holders": "1", "encryption.holders": "1"},
}


@pytest.mark.parametrize("overrides", USED, ids=" ".join)
def test_mlflow_has_what_encryption_really_used(tracked, overrides):
    report, client, _ = tracked(*overrides)
    params = client.get_run(report.mlflow_run_id).data.params
    expected = USED[overrides]
    assert {name: params.get(name) for name in expected} == expected
    for name in ("secure.smudging_bits", "encryption.smudging_bits"):
        assert (name in params) == (name in expected)
    size, degree = len(report.parameters), int(params["encryption.poly_degree"])
    # from what is on record to the bytes on the wire, as docs describe a ciphertext: polynomials of N
    # residues, packed bit by bit, c1 being a seed of 32 bytes where the key is shared
    slots = degree if expected["secure.scheme"] == "bfv" else degree // 2
    plaintexts = math.ceil(size / (slots * int(params["encryption.values_per_slot"])))
    polynomial = degree * round(float(params["encryption.ciphertext_modulus_bits"])) // 8
    ciphertexts = 2 * plaintexts * polynomial if "committee" in overrides[0] else plaintexts * polynomial + 32
    assert report.history[-1].update_bytes == 320 + ciphertexts == int(params["encryption.update_bytes"])
    per_parameter = float(params["encryption.bytes_per_parameter"])
    assert per_parameter == pytest.approx((320 + ciphertexts) / size, abs=1e-4)
    # the most at 128 bits of security: homomorphicencryption.org, table 1
    assert float(params["encryption.key_modulus_bits"]) <= {4096: 109, 8192: 218}[degree]


def test_mlflow_has_what_making_a_committees_key_took(tracked):
    report, client, _ = tracked("secure=bfv_committee")
    found = {
        name: {m.step: m.value for m in client.get_metric_history(report.mlflow_run_id, name)}
        for name in ("bytes_keys", "seconds_keys", "bytes_keyholders")
    }
    assert set(found["bytes_keys"]) == set(found["seconds_keys"]) == {1}
    # opening a sum costs the same in both rounds, so the first one's surplus is the key's
    assert found["bytes_keys"][1] == found["bytes_keyholders"][1] - found["bytes_keyholders"][2]
    assert 0 < found["seconds_keys"][1] < report.seconds + 60


def test_nothing_is_recorded_of_encryption_where_there_is_none(tracked):
    report, client, uri = tracked()
    params = client.get_run(report.mlflow_run_id).data.params
    assert {name for name in params if name.startswith("secure.")} == {"secure.scheme", "secure.key_folder"}
    assert params["encryption.holders"] == "0"
    # a float32 each, and header and signature
    assert int(params["encryption.update_bytes"]) == 4 * len(report.parameters) + 320
    assert set(read_config(uri, report.mlflow_run_id)["secure"]) == {"scheme", "key_folder"}


def test_a_centralized_run_records_no_updates(tracked):
    report, client, _ = tracked("mode=centralized", "federation.rounds=1")
    params = client.get_run(report.mlflow_run_id).data.params
    assert not [name for name in params if name.startswith("encryption.")]


def test_steps_that_drown_the_updates_are_warned_about_once_and_recorded(tracked, caplog):
    with caplog.at_level(logging.WARNING, "fedpriv"):
        report, client, _ = tracked("secure=bfv", "secure.value_range=1000")
    said = [record.message for record in caplog.records if "half a step" in record.message]
    assert said == [
        "100 % of all coordinates lie within half a step of zero and drown in the rounding of updates; lower "
        "secure.value_range or raise secure.bits"
    ]
    shares = client.get_metric_history(report.mlflow_run_id, "coarse_fraction")
    assert {metric.step for metric in shares} == {1, 2}
    assert all(metric.value > 0.99 for metric in shares)


@pytest.mark.parametrize(
    "overrides",
    [
        ("secure=bfv",),
        ("secure=ckks", "secure.value_range=1000"),
        ("secure=none",),
        # the noise drowns single coordinates on purpose, and clients say nothing about theirs
        ("secure=bfv", "secure.value_range=1000", "privacy=client_level"),
    ],
    ids=" ".join,
)
def test_nothing_is_said_of_steps_that_are_fine_or_not_there(tiny, overrides, caplog):
    with caplog.at_level(logging.WARNING, "fedpriv"):
        report = run(tiny(*overrides))
    assert "half a step" not in caplog.text
    assert report.history[1].coarse_fraction < 0.01
