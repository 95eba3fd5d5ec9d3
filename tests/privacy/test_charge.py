import json
import math
from dataclasses import replace

import numpy as np
import pytest

from fedpriv.privacy.charge import (
    LONGEST_NAME,
    Charge,
    Concentrated,
    SampledGaussian,
    UnknownKind,
    from_entry,
    to_entry,
)
from fedpriv.privacy.discrete_gaussian import DISTANCE
from fedpriv.privacy.example_set import of_digests
from fedpriv.privacy.plan import PrivacySettings, plan_for_client
from fedpriv.privacy.sum_plan import plan_sum

SHARE = of_digests(np.arange(4, dtype=np.uint64))
CHARGE = Charge(SHARE, SampledGaussian(1.1, 0.02, 30), "run", 3, 1e-5, "eyes")


@pytest.mark.parametrize(
    "mechanism",
    [
        SampledGaussian(0.1 + 0.2, 1 / 3, 7),
        SampledGaussian(0.0, 1.0, 1),
        Concentrated(1e-300, DISTANCE),
        Concentrated(math.inf),
    ],
)
def test_an_entry_is_json_and_keeps_every_bit(mechanism):
    entry = json.loads(json.dumps(to_entry(replace(CHARGE, mechanism=mechanism)), allow_nan=False))
    record = from_entry({**entry, "time": "now"})
    assert record.mechanism == mechanism
    assert (record.share, record.run, record.round, record.name) == (SHARE.identity, "run", 3, "eyes")
    assert (entry["unit"], entry["delta"]) == (mechanism.unit, 1e-5)


def test_mechanisms_are_those_that_plans_execute():
    plan = plan_for_client(PrivacySettings(None, 1e-5, 1.3, 1.0), 100, 10, 2.0, 5)
    mechanism = SampledGaussian.of_round(plan)
    assert plan.after_round(()) == ((mechanism.noise_multiplier, mechanism.sample_rate, mechanism.steps),)
    for where, draws in (("clients", 5), ("server", 1)):
        summed = plan_sum(
            clipping_norm=1.0,
            step=0.01,
            dimension=50,
            contributors=3,
            rounds=2,
            delta=1e-5,
            epsilon=2.0,
            where=where,
        )
        assert Concentrated.of_release(summed, 5) == Concentrated(summed.rho(5), draws * 50 * DISTANCE)
    assert Concentrated.of_release(replace(summed, where="clients"), 0).rho == math.inf


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: SampledGaussian(-1.0, 0.1, 1), "noise_multiplier"),
        (lambda: SampledGaussian(math.nan, 0.1, 1), "noise_multiplier"),
        (lambda: SampledGaussian(math.inf, 0.1, 1), "noise_multiplier"),
        (lambda: SampledGaussian(1.0, 0.0, 1), "sample_rate"),
        (lambda: SampledGaussian(1.0, 1.1, 1), "sample_rate"),
        (lambda: SampledGaussian(1.0, 0.1, 0), "steps"),
        (lambda: SampledGaussian(1.0, 0.1, True), "steps"),
        (lambda: SampledGaussian(1.0, 0.1, 1.0), "steps"),
        (lambda: Concentrated(-0.1), "rho"),
        (lambda: Concentrated(math.nan), "rho"),
        (lambda: Concentrated(0.1, math.inf), "distance"),
        (lambda: replace(CHARGE, run=""), "run"),
        (lambda: replace(CHARGE, run="r" * 65), "run"),
        (lambda: replace(CHARGE, round=-1), "round"),
        (lambda: replace(CHARGE, delta=1.0), "delta"),
        (lambda: replace(CHARGE, share=of_digests(np.zeros(0, np.uint64))), "no examples"),
    ],
)
def test_values_out_of_range_are_refused(make, match):
    with pytest.raises(ValueError, match=match):
        make()


@pytest.mark.parametrize(
    "change",
    [
        {"unit": "client"},
        {"kind": []},
        {"parameters": []},
        {"parameters": {}},
        {"parameters": {"noise_multiplier": None, "sample_rate": 0.1, "steps": 1}},
        {"parameters": {"noise_multiplier": 10**400, "sample_rate": 0.1, "steps": 1}},
        {"parameters": {"noise_multiplier": "1", "sample_rate": 0.1, "steps": 1}},
        {"parameters": {"noise_multiplier": 1.0, "sample_rate": 0.1, "steps": 1, "more": 1}},
        {"share": 5},
        {"run": 5},
        {"round": "1"},
        {"delta": None},
        {"name": None},
        {"time": 3},
        {"seeded": 1},
        {"by_server": None},
        {"resumed_as": None},
    ],
)
def test_what_is_no_charge_is_refused(change):
    entry = {**to_entry(CHARGE), "time": "now"}
    from_entry(entry)
    with pytest.raises((ValueError, TypeError, KeyError)):
        from_entry({**entry, **change})


@pytest.mark.parametrize("flag", ["seeded", "by_server"])
def test_whose_noise_it_was_is_written_and_entries_of_earlier_versions_do_not_say(flag):
    entry = {**to_entry(replace(CHARGE, **{flag: True})), "time": "now"}
    assert entry[flag] is True
    assert getattr(from_entry(entry), flag)
    del entry[flag]
    assert not getattr(from_entry(entry), flag)


def test_a_kind_of_a_later_version_is_named():
    with pytest.raises(UnknownKind, match="matrix"):
        from_entry({**to_entry(CHARGE), "time": "now", "kind": "matrix"})


def test_a_long_name_is_cut():
    assert len(to_entry(replace(CHARGE, name="n" * 1000))["name"]) == LONGEST_NAME
