"""Releases that protect one row of a table, in the ledger beside those of training."""

import math

import numpy as np
import pytest

from fedpriv.privacy.charge import Charge, Concentrated, ConcentratedSample, SampledGaussian
from fedpriv.privacy.concentrated import epsilon_of
from fedpriv.privacy.example_set import of_digests
from fedpriv.privacy.ledger import Ledger

DELTA, RHO = 1e-6, 0.02
TABLE, OTHER = (of_digests(np.array([number], np.uint64)) for number in (7, 8))
BOTH = of_digests(np.array([7, 8], np.uint64))


def charged(folder, *charges):
    """Charge, and read the ledger again from its file."""
    Ledger(folder).charge([Charge(share, made, run, 0, DELTA) for share, made, run in charges])
    return Ledger(folder)


def close(spent, rho):
    assert spent.epsilon == pytest.approx(epsilon_of(rho, DELTA), rel=1e-3)
    assert spent.epsilon >= epsilon_of(rho, DELTA)


def test_releases_of_one_table_add_up_and_those_of_another_do_not(tmp_path):
    ledger = charged(
        tmp_path,
        (TABLE, ConcentratedSample(RHO), "a"),
        (TABLE, ConcentratedSample(2 * RHO), "b"),
        (OTHER, ConcentratedSample(RHO), "c"),
    )
    close(ledger.spent(TABLE, DELTA), 3 * RHO)
    close(ledger.spent(OTHER, DELTA), RHO)


def test_a_pool_is_charged_to_each_of_its_tables(tmp_path):
    ledger = charged(tmp_path, (BOTH, ConcentratedSample(RHO), "a"), (TABLE, ConcentratedSample(RHO), "b"))
    close(ledger.spent(TABLE, DELTA), 2 * RHO)
    close(ledger.spent(OTHER, DELTA), RHO)


def test_protecting_rows_protects_no_client(tmp_path):
    ledger = charged(tmp_path, (TABLE, ConcentratedSample(RHO), "a"))
    assert ledger.spent(TABLE, DELTA, "client").epsilon == math.inf


def test_beside_other_mechanisms_each_counts_as_it_moves_an_example(tmp_path):
    # what protects a client is moved by an example changed, twice as far as by a missing one: four times rho
    ledger = charged(tmp_path, (TABLE, ConcentratedSample(RHO), "a"), (TABLE, Concentrated(RHO), "b"))
    close(ledger.spent(TABLE, DELTA), 5 * RHO)
    with_training = charged(tmp_path, (TABLE, SampledGaussian(5.0, 1.0, 1), "c"))
    assert with_training.spent(TABLE, DELTA).epsilon > ledger.spent(OTHER, DELTA).epsilon
    assert with_training.spent(TABLE, DELTA).accountant == "rdp"


def test_a_budget_counts_them(tmp_path):
    ledger = Ledger(tmp_path)
    charge = Charge(TABLE, ConcentratedSample(RHO), "a", 0, DELTA)
    once = epsilon_of(RHO, DELTA) * 1.01
    assert ledger.charge_within([charge], once, DELTA) == [True]
    assert ledger.charge_within([charge], once, DELTA) == [False]


def test_what_a_run_made_of_a_table_is_told_with_its_rho(tmp_path):
    ledger = charged(
        tmp_path, (TABLE, ConcentratedSample(RHO), "a"), (TABLE, SampledGaussian(5.0, 1.0, 1), "b")
    )
    released, trained = ledger.uses_of([TABLE])
    assert (released.unit, released.rho, released.steps) == ("sample", (RHO,), ())
    assert (trained.unit, trained.rho, trained.steps) == ("sample", (), ((5.0, 1.0, 1),))
