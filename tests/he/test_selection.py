import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from fedpriv.errors import UserError
from fedpriv.he.selection import (
    SelectionError,
    pack_selection,
    select_layers,
    select_top,
    selected_count,
    selection_digest,
    unpack_choice,
    unpack_selection,
)

NAMES = ("convolutions.0.weight", "convolutions.0.bias", "regressor.1.weight", "regressor.1.bias")
SHAPES = ((2, 1, 2), (2,), (3, 1), (1,))
BITS = arrays.arrays(np.bool_, st.integers(1, 200))


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (["convolutions.*"], "1111110000"),
        (["*.bias"], "0000110001"),
        (["regressor.1.weight"], "0000001110"),
        (["convolutions.?.bias", "regressor.[0-9].bias"], "0000110001"),
        (["*"], "1111111111"),
    ],
)
def test_patterns_mark_all_coordinates_of_the_layers_they_match(patterns, expected):
    selected = select_layers(NAMES, SHAPES, patterns)
    assert selected.dtype == np.bool_
    assert "".join(str(int(bit)) for bit in selected) == expected


def test_a_layer_without_dimensions_is_one_coordinate():
    assert select_layers(("scale", "w"), ((), (2,)), ["scale"]).tolist() == [True, False, False]


@pytest.mark.parametrize("pattern", ["head.*", "convolutions", "CONVOLUTIONS.*", ""])
def test_a_pattern_that_matches_nothing_is_refused_by_name_with_names_to_choose_from(pattern):
    with pytest.raises(UserError) as refusal:
        select_layers(NAMES, SHAPES, ["*.bias", pattern])
    assert f"secure.select={pattern}:" in str(refusal.value)
    assert "convolutions.0.weight, convolutions.0.bias" in str(refusal.value)


def test_a_refusal_lists_a_few_of_many_names():
    names = tuple(f"layer{number}" for number in range(300))
    with pytest.raises(UserError) as refusal:
        select_layers(names, ((1,),) * 300, ["nothing"])
    assert "layer5, ..." in str(refusal.value)
    assert "layer6" not in str(refusal.value)


def test_no_patterns_and_endless_patterns_are_refused():
    with pytest.raises(UserError, match=r"secure\.select=\[\]"):
        select_layers(NAMES, SHAPES, [])
    with pytest.raises(UserError, match="5000 characters"):
        select_layers(NAMES, SHAPES, ["*" * 5000])


@pytest.mark.parametrize(
    ("share", "length", "expected"),
    [
        (0.07, 100, 7),
        (0.3, 10, 3),
        (0.29, 100, 29),
        (0.3, 11, 4),
        (1e-9, 5, 1),
        (0.999, 5, 5),
        (0.55, 20, 11),
    ],
)
def test_the_count_is_the_ceiling_of_the_share_as_written(share, length, expected):
    assert selected_count(share, length) == expected


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, 1.5, math.nan, math.inf])
def test_shares_outside_zero_and_one_are_refused(share):
    with pytest.raises(UserError, match=f"secure.select_top={share}"):
        selected_count(share, 10)


@given(
    arrays.arrays(np.float32, st.integers(1, 60), elements=st.integers(0, 6).map(float)),
    st.integers(1, 999).map(lambda thousandth: thousandth / 1000),
)
def test_the_top_share_is_that_of_a_stable_sort(sensitivity, share):
    order = sorted(range(len(sensitivity)), key=lambda index: (-sensitivity[index], index))
    count = math.ceil(Fraction(round(share * 1000), 1000) * len(sensitivity))
    assert np.flatnonzero(select_top(sensitivity, share)).tolist() == sorted(order[:count])


@pytest.mark.parametrize("bad", [[], [[1.0, 2.0]], [1.0, math.nan], [math.inf, 0.0]])
def test_sensitivities_that_have_no_order_are_refused(bad):
    with pytest.raises(ValueError, match="finite vector"):
        select_top(np.array(bad), 0.5)


@given(BITS)
def test_a_selection_survives_packing(selected):
    packed = pack_selection(selected)
    assert len(packed) == math.ceil(len(selected) / 8)
    back = unpack_selection(packed, len(selected), int(selected.sum()))
    assert back.dtype == np.bool_
    assert np.array_equal(back, selected)


def test_bit_order_is_lowest_first():
    selected = np.zeros(9, np.bool_)
    selected[[0, 2, 8]] = True
    assert pack_selection(selected) == bytes([0b101, 1])


@pytest.mark.parametrize(
    ("data", "length", "count", "reason"),
    [
        (bytes([0b101]), 9, 2, "1 bytes, 2 expected"),
        (bytes([0b101, 0, 0]), 9, 2, "3 bytes, 2 expected"),
        (b"", 9, 0, "0 bytes, 2 expected"),
        (bytes([0b101, 0b10]), 9, 3, "bits beyond coordinate 9"),
        (bytes([0b101, 0b1]), 9, 2, "3 coordinates, 2 expected"),
        (bytes([0b100, 0b0]), 9, 2, "1 coordinates, 2 expected"),
    ],
)
def test_bits_that_are_no_such_selection_are_refused(data, length, count, reason):
    with pytest.raises(SelectionError, match=reason):
        unpack_selection(data, length, count)


@given(st.integers(2, 200), st.data())
def test_a_choice_is_of_the_share_that_was_agreed_or_of_everything(length, data):
    """Of everything: what a server says that had no sum to choose by. It hides no less."""
    share = data.draw(st.integers(1, 99).map(lambda hundredth: hundredth / 100))
    count = data.draw(st.integers(0, length))
    selected = np.zeros(length, np.bool_)
    selected[:count] = True
    if count in (selected_count(share, length), length):
        assert np.array_equal(unpack_choice(pack_selection(selected), length, share), selected)
    else:
        with pytest.raises(SelectionError, match=f"{count} coordinates, {selected_count(share, length)}"):
            unpack_choice(pack_selection(selected), length, share)


@pytest.mark.parametrize("data", [b"", b"\xff", b"\xff" * 3, b"\xff\x02", b"\xff\x03"])
def test_what_is_no_choice_at_all_is_refused(data):
    with pytest.raises(SelectionError):
        unpack_choice(data, 9, 0.5)


def test_of_sensitivities_that_are_all_alike_the_first_coordinates_are_taken():
    assert select_top(np.zeros(8), 0.25).tolist() == [True] * 2 + [False] * 6


@given(BITS, BITS)
def test_digests_differ_where_selections_do(one, other):
    same = len(one) == len(other) and bool((one == other).all())
    assert (selection_digest(one) == selection_digest(other)) is same


def test_the_digest_tells_lengths_of_the_same_bytes_apart():
    assert selection_digest(np.array([True])) != selection_digest(np.array([True, False]))
