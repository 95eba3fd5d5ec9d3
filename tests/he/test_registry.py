import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from fedpriv.errors import UserError
from fedpriv.he.codec import UpdateCodec
from fedpriv.he.packing_plan import quantisation_step
from fedpriv.he.registry import KEYS, SCHEMES, build_codec
from fedpriv.privacy.sum_plan import SumPlan
from tests.he.parties import updates


def plan_of(where):
    """Noise so large that no two coordinates fit a slot."""
    step = quantisation_step(16, 0.5)
    return SumPlan(0.1, step, 100, where, 1, 10, 1e-5, Fraction(2**46))


def test_noise_of_another_step_is_refused():
    with pytest.raises(ValueError, match="made for steps of"):
        build_codec("bfv", 16, bits=12, noise=plan_of("server"))


@pytest.mark.parametrize("scheme", sorted(SCHEMES))
@pytest.mark.parametrize("keys", KEYS)
def test_every_scheme_carries_a_round_behind_one_interface(scheme, keys, federation, random):
    vectors = updates(3, 100)
    if scheme == "plain":
        codec = build_codec(scheme, max_clients=3, keys=keys)
        total = codec.aggregator(100)
        for vector in vectors:
            total.add(codec.encode(vector, random).body)
        found = total.open(())
    else:
        party = federation(scheme, keys)
        codec, found = party.client, party.sum(vectors)
    assert isinstance(codec, UpdateCodec)
    assert codec.scheme == scheme
    assert codec.needs_public_key == (keys == "committee" and scheme != "plain")
    assert codec.holders == (0 if scheme == "plain" else 3 if keys == "committee" else 1)
    assert np.abs(found - np.clip(vectors, -0.5, 0.5).sum(axis=0, dtype=np.float64)).max() < 2e-4


@pytest.mark.parametrize("holders", [2, 3, 16])
def test_committees_of_every_size_can_be_built(holders):
    for scheme in ("bfv", "ckks"):
        assert build_codec(scheme, 1000, keys="committee", holders=holders, bits=24).holders == holders


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scheme": "rsa"}, r"secure\.scheme=rsa: unknown; choose one of bfv, ckks, plain"),
        ({"keys": "dealer"}, r"secure\.keys=dealer: unknown; choose one of authority, committee"),
        ({"keys": "committee", "holders": 1}, r"secure\.holders=1: choose 2 to 16"),
        ({"keys": "committee", "holders": 17}, r"secure\.holders=17: choose 2 to 16"),
        ({"smudging_bits": 81}, r"secure\.smudging_bits=81: choose 0 to 80"),
        ({"bits": 1}, r"secure\.bits=1"),
        ({"bits": 25}, r"secure\.bits=25"),
        ({"max_clients": 0}, r"federation\.clients=0"),
        ({"max_clients": 1001}, r"federation\.clients=1001"),
        ({"value_range": -1.0}, r"secure\.value_range=-1"),
        ({"values_per_slot": 0}, r"secure\.values_per_slot=0"),
        ({"keys": "committee", "values_per_slot": 0}, r"secure\.values_per_slot=0"),
        ({"values_per_slot": 3}, r"secure\.bits=16 with secure\.values_per_slot=3.*federation\.clients=16"),
        ({"bits": 24, "values_per_slot": 2}, r"secure\.bits=24 with secure\.values_per_slot=2"),
        (
            {"keys": "committee", "values_per_slot": 3},
            r"secure\.bits=16 with secure\.values_per_slot=3.*federation\.clients=16",
        ),
        ({"max_clients": 1000, "values_per_slot": 2, "bits": 16}, r"federation\.clients=1000"),
        ({"values_per_slot": 2, "noise": plan_of("clients")}, r"secure\.values_per_slot=2.*noise_multiplier"),
        (
            {"keys": "committee", "values_per_slot": 2, "noise": plan_of("clients")},
            r"secure\.bits=16 with secure\.values_per_slot=2.*noise_multiplier",
        ),
        ({"scheme": "ckks", "noise": plan_of("server")}, r"secure\.scheme=ckks: carries no discrete noise"),
    ],
)
def test_what_does_not_fit_together_is_refused_before_the_run_by_its_fields(options, message):
    with pytest.raises(UserError, match=message) as refusal:
        build_codec(**{"scheme": "bfv", "max_clients": 16, **options})
    assert "\n" not in str(refusal.value)


def test_a_plain_run_does_not_load_the_encryption_library():
    program = (
        "import sys; from fedpriv.he.registry import build_codec; build_codec('plain', 3); "
        "sys.exit(any(name.startswith('tenseal') for name in sys.modules))"
    )
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", program], cwd=root, check=False).returncode == 0
