"""FER2013 as a data set: the published split, labels, the eye region, and refusals."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fedpriv.data.fer2013 import load
from fedpriv.data.holdout import published
from fedpriv.errors import FormatError, UserError
from fedpriv.formats.fer2013 import write_fer2013

LABELS = [0, 1, 2, 3, 4, 5, 6, 3]
USAGES = [0, 0, 0, 0, 1, 1, 2, 2]
IMAGES = np.random.default_rng(0).integers(0, 256, (8, 1, 48, 48), dtype=np.uint8)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_fer2013(tmp_path / "fer2013.csv", IMAGES, LABELS, USAGES)
    return tmp_path


def test_public_test_is_left_out_and_private_test_is_held_out(root: Path) -> None:
    dataset = load(str(root))
    np.testing.assert_array_equal(np.asarray(dataset.images), IMAGES[[0, 1, 2, 3, 6, 7]])
    assert [dataset.class_names[target] for target in dataset.targets] == [
        "angry",
        "disgust",
        "fear",
        "happy",
        "neutral",
        "happy",
    ]
    training, test = published(dataset)
    assert (len(training), len(test)) == (4, 2)


def test_public_test_can_be_trained_on(root: Path) -> None:
    dataset = load(str(root), use_public="train")
    assert dataset.held_out is not None
    assert dataset.held_out.tolist() == [False] * 6 + [True] * 2


def test_public_test_can_be_held_out_to_choose_settings_on(root: Path) -> None:
    dataset = load(str(root), use_public="test")
    assert dataset.held_out is not None
    assert dataset.held_out.tolist() == [False] * 4 + [True] * 2
    np.testing.assert_array_equal(np.asarray(dataset.images), IMAGES[:6])


def test_every_image_is_its_own_person(root: Path) -> None:
    dataset = load(str(root))
    assert dataset.subjects.tolist() == list(range(6))
    assert dataset.subject_names[0] == "image000000"
    assert len(set(dataset.subject_names)) == 6


def test_the_file_itself_may_be_named(root: Path) -> None:
    assert len(load(str(root / "fer2013.csv"))) == 6


def test_the_eye_region_is_cut_out_of_the_face(root: Path) -> None:
    dataset = load(str(root), region="eye")
    assert dataset.images.shape == (6, 1, 36, 60)
    x, y, across, down = 0.52 * 48, 0.21 * 48, 0.36 * 48, 0.216 * 48
    expected = Image.fromarray(IMAGES[6, 0]).resize(
        (60, 36), Image.Resampling.BILINEAR, box=(x, y, x + across, y + down)
    )
    np.testing.assert_array_equal(np.asarray(dataset.images)[4, 0], np.asarray(expected))


def test_a_changed_file_is_decoded_anew(root: Path) -> None:
    load(str(root))
    write_fer2013(root / "fer2013.csv", IMAGES[::-1], LABELS, USAGES)
    np.testing.assert_array_equal(np.asarray(load(str(root)).images)[0], IMAGES[7])


def test_a_limit_takes_images_evenly_from_all_parts(root: Path) -> None:
    dataset = load(str(root), max_images=2)
    np.testing.assert_array_equal(np.asarray(dataset.images), IMAGES[[0, 7]])
    assert dataset.held_out is not None
    assert dataset.held_out.tolist() == [False, True]
    assert len(load(str(root), max_images=100)) == 6


def test_the_competitions_train_csv_has_no_published_split(root: Path) -> None:
    rows = (root / "fer2013.csv").read_text().splitlines()
    (root / "fer2013.csv").unlink()
    (root / "train.csv").write_text("\n".join(row.rpartition(",")[0] for row in rows))
    dataset = load(str(root))
    assert len(dataset) == 8
    assert dataset.held_out is None
    with pytest.raises(UserError, match=r"data\.use_public=train: .*train\.csv has no column Usage"):
        load(str(root), use_public="train")


def test_a_damaged_row_is_named_and_nothing_is_cached(root: Path) -> None:
    path = root / "fer2013.csv"
    rows = path.read_text().splitlines()
    path.write_text("\n".join([rows[0], rows[1].replace(" ", " 999 ", 1), *rows[2:]]))
    for _ in range(2):
        with pytest.raises(FormatError, match=r"fer2013\.csv: line 2: "):
            load(str(root))


def test_a_missing_root_names_the_field_the_file_and_the_source(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^data\.root=.*: holds none of fer2013\.csv.*https://www\.kaggle"):
        load(str(tmp_path))


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"use_public": "both"}, r"data\.use_public=both: choose train, drop or test"),
        ({"region": "mouth"}, r"data\.region=mouth"),
        ({"max_images": 0}, r"data\.max_images=0: must be at least 1"),
    ],
)
def test_settings_out_of_range_are_named(root: Path, settings: dict[str, object], reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        load(str(root), **settings)  # type: ignore[arg-type]
