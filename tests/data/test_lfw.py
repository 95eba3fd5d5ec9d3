"""LFW: pairs in ten folds, and no pair lost without a word."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fedpriv.data.lfw import load
from fedpriv.errors import UserError
from fedpriv.formats.lfw_pairs import LfwPairs, Pair, write_pairs

PEOPLE = ("Ann_A", "Bob_B", "Cy_C")


@pytest.fixture
def lfw(tmp_path: Path) -> Path:
    """Three people with 3 images each, in pairs; Dee has one and is in none; grey tells who and which."""
    for person, name in enumerate((*PEOPLE, "Dee_D")):
        (tmp_path / "lfw" / name).mkdir(parents=True)
        for number in range(1, 4 if name in PEOPLE else 2):
            pixels = np.full((40, 40, 3), 50, dtype=np.uint8)
            pixels[10:30, 10:30] = 60 * person + 10 * number
            path = tmp_path / "lfw" / name / f"{name}_{number:04d}.jpg"
            Image.fromarray(pixels).save(path, quality=100, subsampling=0)
    pairs = []
    for fold in range(10):
        one, other = PEOPLE[fold % 3], PEOPLE[(fold + 1) % 3]
        pairs += [Pair((one, 1), (one, 2 + fold % 2), True), Pair((one, 1), (other, 2), False)]
    write_pairs(tmp_path / "pairs.txt", LfwPairs(pairs, 10, 1))
    return tmp_path


def test_pairs_point_to_the_images_that_the_file_names(lfw):
    dataset = load(str(lfw), 10, 10)
    assert dataset.subject_names == PEOPLE
    assert dataset.pairs is not None
    assert dataset.pairs.same.tolist() == [True, False] * 10
    value = {
        (person, number): row
        for row, (person, number) in enumerate(
            (person, number) for person in range(3) for number in (1, 2, 3)
        )
    }
    assert len(dataset) == 9
    for fold in range(10):
        one, other = fold % 3, (fold + 1) % 3
        assert dataset.pairs.left[2 * fold] == dataset.pairs.left[2 * fold + 1] == value[one, 1]
        assert dataset.pairs.right[2 * fold] == value[one, 2 + fold % 2]
        assert dataset.pairs.right[2 * fold + 1] == value[other, 2]
    for (person, number), row in value.items():
        assert dataset.subjects[row] == person
        assert abs(int(dataset.images[row][0, 5, 5]) - (60 * person + 10 * number)) <= 2


def test_the_middle_is_kept_and_all_of_it_on_request(lfw):
    # the filter reaches a pixel beyond the cut
    assert np.asarray(load(str(lfw), 10, 10, centre=0.5).images)[0, 0, 1:-1, 1:-1].std() < 2
    whole = np.asarray(load(str(lfw), 10, 10, centre=1.0).images)[0, 0]
    assert abs(int(whole[0, 0]) - 50) <= 2
    assert abs(int(whole[5, 5]) - 10) <= 2


def test_all_images_add_people_without_pairs_and_change_no_pair(lfw):
    few, every = load(str(lfw), 10, 10), load(str(lfw), 10, 10, all_images=True)
    assert every.subject_names == (*PEOPLE, "Dee_D")
    assert len(every) == 10
    for side in ("left", "right"):
        np.testing.assert_array_equal(
            np.asarray(few.images)[getattr(few.pairs, side)],
            np.asarray(every.images)[getattr(every.pairs, side)],
        )


def test_people_may_lie_beside_the_pairs(lfw):
    for folder in (lfw / "lfw").iterdir():
        folder.rename(lfw / folder.name)
    (lfw / "lfw").rmdir()
    assert len(load(str(lfw), 10, 10)) == 9


def test_a_missing_image_of_a_pair_is_an_error(lfw):
    (lfw / "lfw/Bob_B/Bob_B_0002.jpg").unlink()
    with pytest.raises(UserError, match=r"Bob_B_0002\.jpg: is missing, but pairs\.txt has it"):
        load(str(lfw), 10, 10)


def test_a_link_out_of_the_folder_is_refused(lfw, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside") / "secret.jpg"
    path = lfw / "lfw/Bob_B/Bob_B_0002.jpg"
    path.rename(outside)
    path.symlink_to(outside)
    with pytest.raises(UserError, match="a symbolic link that leaves"):
        load(str(lfw), 10, 10)


def test_view_1_is_no_protocol_of_ten_folds(lfw):
    pairs = [Pair(("Ann_A", 1), ("Ann_A", 2), True), Pair(("Ann_A", 1), ("Bob_B", 2), False)]
    write_pairs(lfw / "pairs.txt", LfwPairs(pairs, 1, 1), view=1)
    with pytest.raises(UserError, match=r"1 sets of pairs; need the 10 of View 2"):
        load(str(lfw), 10, 10)


@pytest.mark.parametrize(("field", "value"), [("height", 7), ("width", 0), ("centre", 0.0), ("centre", 1.5)])
def test_settings_out_of_range_are_named(lfw, field, value):
    with pytest.raises(UserError, match=rf"data\.{field}={value}: must be"):
        load(str(lfw), **{field: value})
