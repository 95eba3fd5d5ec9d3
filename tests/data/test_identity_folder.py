"""An identity folder as a dataset: labels, selection of people, and the errors a user sees."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fedpriv.data.identity_folder import load
from fedpriv.errors import UserError


@pytest.fixture
def people(tmp_path: Path) -> Path:
    """Anna has 3 images, s2 has 2, s10 has 2, solo has 1; the grey value says who and which."""
    for person, (name, count) in enumerate([("anna", 3), ("s2", 2), ("s10", 2), ("solo", 1)]):
        (tmp_path / name).mkdir()
        for image in range(count):
            pixels = np.full((16, 16), 10 * person + image, dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{image}.png")
    return tmp_path


def test_images_targets_and_names_belong_together(people: Path) -> None:
    dataset = load(str(people), height=10, width=8)
    assert dataset.images.shape == (7, 1, 10, 8)
    assert dataset.subject_names == ("anna", "s2", "s10")
    assert dataset.subjects.tolist() == [0, 0, 0, 1, 1, 2, 2]
    assert dataset.images[:, 0, 5, 4].tolist() == [0, 1, 2, 10, 11, 20, 21]
    assert dataset.targets.dtype == np.int64
    np.testing.assert_array_equal(dataset.targets, dataset.subjects)


def test_targets_are_no_view_of_subjects(people: Path) -> None:
    dataset = load(str(people), height=10, width=8)
    assert not np.shares_memory(dataset.targets, dataset.subjects)


def test_people_with_too_few_images_are_left_out(people: Path) -> None:
    assert load(str(people), 8, 8, min_images=1).subject_names == ("anna", "s2", "s10", "solo")
    with pytest.raises(UserError, match=r"data\.root=.*: 1 of 4 folders hold at least 3 images"):
        load(str(people), 8, 8, min_images=3)


def test_max_people_keeps_the_first_in_natural_order(people: Path) -> None:
    dataset = load(str(people), 8, 8, max_people=2)
    assert dataset.subject_names == ("anna", "s2")
    assert len(dataset) == 5


def test_colour_gives_three_channels(people: Path) -> None:
    assert load(str(people), 8, 8, colour=True).image_shape == (3, 8, 8)


def test_a_missing_root_names_the_field_and_the_mend(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^data\.root=.*nowhere: no such folder; name one that holds"):
        load(str(tmp_path / "nowhere"))


def test_an_empty_root_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"0 of 0 folders .* at least 2 people are needed"):
        load(str(tmp_path))


def test_a_damaged_image_is_named(people: Path) -> None:
    (people / "s2" / "1.png").write_bytes(b"not an image")
    with pytest.raises(UserError, match=r"s2/1\.png: not a readable"):
        load(str(people), 8, 8)


@pytest.mark.parametrize("field", ["height", "width", "min_images", "max_people"])
def test_settings_out_of_range_are_named(people: Path, field: str) -> None:
    with pytest.raises(UserError, match=rf"data\.{field}=0: must be at least"):
        load(str(people), **{field: 0})


def test_the_orl_faces_load_as_forty_people_of_ten_images() -> None:
    data = Path(os.environ.get("FEDPRIV_REAL_DATA", Path(__file__).parents[2] / ".." / "shared" / "data"))
    root = data / "orl_faces"
    if not root.is_dir():
        pytest.skip("no ORL faces: set FEDPRIV_REAL_DATA to the folder that holds orl_faces")
    dataset = load(str(root))
    assert dataset.images.shape == (400, 1, 56, 46)
    assert np.bincount(dataset.subjects).tolist() == [10] * 40
    assert dataset.subject_names[:3] == ("s1", "s2", "s3")
    halved = (
        np.asarray(Image.open(root / "s3" / "4.pgm")).astype(float).reshape(56, 2, 46, 2).mean(axis=(1, 3))
    )
    assert np.abs(dataset.images[23, 0] - halved).mean() < 4
