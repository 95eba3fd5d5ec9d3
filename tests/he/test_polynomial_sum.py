import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedpriv.he.codec import PayloadError
from fedpriv.he.parameters import SealParameters
from fedpriv.he.polynomial_sum import PolynomialSum
from fedpriv.he.wire import CiphertextWire

WIRES = {
    "bfv": CiphertextWire(SealParameters(2_199_023_288_321)),
    "ckks": CiphertextWire(SealParameters(0, 8192, (46, 46, 46), "ckks"), 2.0**80),
}


@pytest.fixture(params=WIRES)
def wire(request):
    return WIRES[request.param]


def terms(wire, count, polynomials, seed=0):
    random = np.random.default_rng(seed)
    drawn = random.integers(0, wire.moduli, (count, polynomials, *wire.shape), dtype=np.uint64)
    # both ends of the range in every row
    drawn[..., 0], drawn[..., 1] = 0, (wire.moduli - np.uint64(1))[:, 0]
    return drawn


def packed(wire, polynomials):
    return b"".join(wire.pack(polynomial) for polynomial in polynomials)


def test_sums_are_those_of_the_integers_in_any_order(wire):
    drawn = terms(wire, 5, 3)
    exact = drawn.astype(object).sum(axis=0) % wire.moduli.astype(object)
    for order in (range(5), (3, 0, 4, 2, 1)):
        total = PolynomialSum(wire, 3)
        for index in order:
            total.add(packed(wire, drawn[index]))
        assert np.array_equal(total.total.astype(object), exact)


def test_what_is_packed_is_the_sum(wire):
    first, second = terms(wire, 2, 2)
    total, again = PolynomialSum(wire, 2), PolynomialSum(wire, 2)
    assert total.packed() == bytes(2 * wire.polynomial_bytes)
    total.add(packed(wire, first))
    assert total.packed() == packed(wire, first)
    total.add(bytearray(packed(wire, second)))
    again.add(memoryview(total.packed()))
    assert np.array_equal(again.total, total.total)


@settings(max_examples=20, deadline=None)
@given(
    place=st.integers(0, 2), row=st.integers(0, 1), column=st.integers(0, 4095), above=st.integers(0, 1000)
)
def test_a_residue_not_below_its_prime_anywhere_changes_nothing(place, row, column, above):
    for wire in WIRES.values():
        row_here = row % wire.shape[0]
        first, second = terms(wire, 2, 3)
        total = PolynomialSum(wire, 3)
        total.add(packed(wire, first))
        second[place, row_here, column] = wire.moduli[row_here, 0] + np.uint64(above)
        if int(second[place, row_here, column]).bit_length() > int(wire.moduli.max()).bit_length():
            continue
        with pytest.raises(PayloadError) as refusal:
            total.add(packed(wire, second))
        assert refusal.value.cause == "malformed"
        assert np.array_equal(total.total, first)


@pytest.mark.parametrize(("change", "cause"), [(-1, "truncated"), (1, "oversized")])
def test_other_sizes_are_refused(wire, change, cause):
    total = PolynomialSum(wire, 2)
    with pytest.raises(PayloadError) as refusal:
        total.add(bytes(2 * wire.polynomial_bytes + change))
    assert refusal.value.cause == cause
    assert not total.total.any()
