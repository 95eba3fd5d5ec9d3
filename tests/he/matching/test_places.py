"""Slots and names travel as text that an outsider may have written."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedpriv.errors import UserError
from fedpriv.he.matching.places import (
    Place,
    free_places,
    join_ids,
    most_blocks,
    new_id,
    require_id,
    split_ids,
)
from fedpriv.he.users.sets import parameter_set

FACES = parameter_set("faces")


@given(st.integers(0, 84), st.sets(st.integers(0, 4095), min_size=1, max_size=50))
def test_a_place_is_what_it_was_before_it_travelled(block, slots):
    place = Place(block, tuple(sorted(slots)))
    assert Place.from_json(place.to_json(4096), FACES) == place


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        [0],
        [0, "", 0],
        [-1, "A"],
        [True, Place(0, (1,)).to_json(4096)[1]],
        [85, Place(0, (1,)).to_json(4096)[1]],
        [0, "A" * 684],
        [0, "A" * 680],
        [0, "!" * 684],
        [0, Place(0, (1,)).to_json(8192)[1]],
    ],
)
def test_edge_what_is_no_place_is_refused(data):
    with pytest.raises(ValueError, match=r"."):
        Place.from_json(data, FACES)


def test_a_question_about_a_full_gallery_fits_its_64_kib():
    for name in ("faces", "faces-split"):
        parameters = parameter_set(name)
        each = len(str(Place(most_blocks(parameters) - 1, (0,)).to_json(parameters.slots)))
        assert 40_000 < each * most_blocks(parameters) < 65_000
        assert most_blocks(parameters) * parameters.slots > 340_000


def test_names_are_12_random_characters():
    assert len({new_id() for _ in range(1000)}) == 1000
    assert all(require_id(new_id()) for _ in range(100))
    for wrong in ("", "a" * 11, "a" * 13, "a" * 11 + "\n", "../../../etc", "a" * 11 + "ä", 7):
        with pytest.raises(UserError, match="no name of 12"):
            require_id(wrong)


def test_names_joined_are_split_again_and_never_twice_the_same():
    ids = [new_id() for _ in range(5)]
    assert split_ids(join_ids(ids), 5) == ids
    for text, count in ((join_ids(ids), 4), (join_ids([ids[0], ids[0]]), 2), ("!" * 12, 1), (7, 1)):
        with pytest.raises(ValueError, match="ids"):
            split_ids(text, count)


def test_the_first_free_slots_are_given_block_after_block():
    taken = [set(range(4096)) - {7, 4000}, {0, 1}]
    assert free_places(taken, 3, FACES) == [Place(0, (7, 4000)), Place(1, (2,))]
    (first, second) = free_places([], 5000, FACES)
    assert (first.block, len(first.slots), second) == (0, 4096, Place(1, tuple(range(904))))


def test_a_block_of_more_slots_is_filled_by_several_enrolments():
    places = free_places([], 8192, parameter_set("faces-split"))
    assert [(each.block, len(each.slots)) for each in places] == [(0, 4096), (0, 4096)]
    assert places[1].slots[0] == 4096


def test_edge_a_full_gallery_is_named():
    with pytest.raises(UserError, match="begin a second one"):
        free_places([range(4096)] * most_blocks(FACES), 1, FACES)
