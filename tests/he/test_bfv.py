"""Integers in plaintexts of BFV: rounding, and what is no sum."""

import numpy as np
import pytest
from tenseal import sealapi

from fedpriv.he.bfv import IntegerEncoding
from fedpriv.he.packing import pack, plan_packing
from fedpriv.he.parameters import SealParameters, seal_context
from fedpriv.he.registry import build_codec
from fedpriv.he.sealio import SealBuffer
from fedpriv.he.wire import dump_plaintext, load_plaintext
from fedpriv.privacy.noise import SecureSource
from tests.he.parties import lift, updates


@pytest.fixture(scope="module", params=["authority", "committee"])
def encoding(request):
    return build_codec("bfv", 16, keys=request.param)._encoding


def test_the_digest_fields_are_all_of_the_plan(encoding):
    assert encoding.fields.keys() == {*encoding.plan.__dataclass_fields__, "noise"}
    assert encoding.max_clients == encoding.plan.max_clients
    assert encoding.values_per_plaintext == encoding.plan.values_per_slot * encoding.parameters.poly_degree


def test_a_phase_is_rounded_as_integers_round(encoding, random):
    """From_phase is round(t phase / q) mod t, judged by Python's integers."""
    moduli = encoding.wire().moduli
    phase = random.integers(0, moduli, encoding.wire().shape, dtype=np.uint64)
    q = int(np.prod(moduli.astype(object)))
    t = encoding.parameters.plain_modulus
    expected = [(2 * t * value + q) // (2 * q) % t for value in lift(phase, moduli)]
    with SealBuffer() as buffer:
        found = dump_plaintext(buffer, encoding.from_phase(buffer, phase), encoding.plan.slots)
    assert found.tolist() == expected


def test_a_plaintext_holds_the_packed_levels(encoding):
    vector = updates(1, 1000, deviation=0.3)[0]
    with SealBuffer() as buffer:
        ((item, saturated),) = encoding.items_of(vector, np.random.default_rng(1), SecureSource())
        values = encoding.values(buffer, encoding.plaintext(buffer, item), 1, 1000)
    assert saturated == np.count_nonzero(np.abs(vector) > 0.5) > 0
    assert np.abs(values - np.clip(vector, -0.5, 0.5)).max() < encoding.plan.step


def test_what_is_no_sum_of_so_many_updates_is_refused(encoding, random):
    context = seal_context(encoding.parameters)
    plan = encoding.plan

    def values(slots, count, length):
        with SealBuffer() as buffer:
            return encoding.values(buffer, load_plaintext(buffer, context, slots), count, length)

    full = np.full(100, (1 << 16) - 1, np.uint32)
    good = pack(full, plan) * np.uint64(3)
    assert np.allclose(values(good, 3, 100), 3 * 32767 * plan.step)
    beyond_the_padding = np.append(good, np.uint64(1))
    uniform = random.integers(0, plan.plain_modulus, plan.slots, dtype=np.uint64)
    empty = np.zeros(50, np.uint64)
    for slots, count in ((good, 2), (good, 1), (empty, 1), (beyond_the_padding, 3), (uniform, 16)):
        with pytest.raises(ValueError, match=f"not a sum of {count} updates"):
            values(slots, count, 100)


def test_garbage_is_recognised_with_certainty():
    """Under 200 random keys not one sum is taken for one, not even of the fullest federation."""
    plan = plan_packing(16, 16)
    encoding = IntegerEncoding(plan, SealParameters(plan.plain_modulus, plan.slots))
    random = np.random.default_rng(0)
    context = seal_context(encoding.parameters)
    with SealBuffer() as buffer:
        for _ in range(200):
            slots = random.integers(0, plan.plain_modulus, plan.slots, dtype=np.uint64)
            plaintext = load_plaintext(buffer, context, slots)
            assert isinstance(plaintext, sealapi.Plaintext)
            with pytest.raises(ValueError, match="not a sum"):
                encoding.values(buffer, plaintext, 16, plan.values_per_plaintext)
