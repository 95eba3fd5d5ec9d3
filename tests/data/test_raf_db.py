"""RAF-DB as a data set: labels, split, aligned and original images, and refusals."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fedpriv.data.raf_db import load
from fedpriv.errors import UserError
from fedpriv.formats.raf_db import write_raf_db

LABELS = [1, 2, 3, 4, 5, 6, 7]
TEST = [False] * 5 + [True] * 2


def flat(*levels: int, channels: int = 3, side: int = 100) -> list[np.ndarray]:
    return [np.full((channels, side, side), level, dtype=np.uint8) for level in levels]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_raf_db(tmp_path, flat(*range(10, 80, 10)), LABELS, TEST)
    return tmp_path


def test_labels_and_the_official_split_are_kept(root: Path) -> None:
    dataset = load(str(root))
    assert dataset.images.shape == (7, 1, 48, 48)
    assert [dataset.class_names[target] for target in dataset.targets] == [
        "surprise",
        "fear",
        "disgust",
        "happy",
        "sad",
        "angry",
        "neutral",
    ]
    assert dataset.held_out is not None
    assert dataset.held_out.tolist() == TEST
    assert np.abs(np.asarray(dataset.images)[:, 0, 24, 24].astype(int) - np.arange(10, 80, 10)).max() <= 1


def test_colour_and_size_can_be_had(root: Path) -> None:
    assert load(str(root), size=100, colour=True).image_shape == (3, 100, 100)


def test_the_pixels_are_pillows(root: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (100, 100, 3), dtype=np.uint8)
    path = root / "Image" / "aligned" / "train_00001_aligned.jpg"
    Image.fromarray(picture).save(path)
    with Image.open(path) as image:
        expected = np.asarray(image.convert("L").resize((48, 48), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(np.asarray(load(str(root)).images)[0, 0], expected)


def test_the_folder_above_basic_may_be_named(tmp_path: Path) -> None:
    write_raf_db(tmp_path / "basic", flat(1, 2), [1, 2], [False, True])
    assert len(load(str(tmp_path))) == 2


def test_an_original_is_cut_by_its_box_grown_to_a_square(tmp_path: Path) -> None:
    picture = np.zeros((3, 100, 160), dtype=np.uint8)
    picture[:, 30:70, 50:90] = 200
    write_raf_db(tmp_path, [picture], [4], [False], boxes=[(60.0, 30.0, 20.0, 40.0)])
    image = np.asarray(load(str(tmp_path), images="original").images)[0, 0]
    assert image[4:-4, 4:-4].min() > 190
    assert image.min() > 120  # JPEG rings at the edges


def test_the_eye_region_can_be_had(root: Path) -> None:
    assert load(str(root), region="eye").image_shape == (1, 36, 60)


def test_a_missing_image_and_a_missing_box_are_named(root: Path) -> None:
    with pytest.raises(UserError, match=r"Image/original/train_00001\.jpg: is listed .* and missing"):
        load(str(root), images="original")
    (root / "Image" / "aligned" / "test_0001_aligned.jpg").unlink()
    with pytest.raises(UserError, match=r"test_0001_aligned\.jpg: is listed .* and missing; data\.root must"):
        load(str(root))


def test_an_image_that_is_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    write_raf_db(tmp_path / "raf", flat(1, 2), [1, 2], [False, True])
    Image.fromarray(np.zeros((100, 100), dtype=np.uint8)).save(tmp_path / "private.jpg")
    path = tmp_path / "raf" / "Image" / "aligned" / "train_00001_aligned.jpg"
    path.unlink()
    path.symlink_to(tmp_path / "private.jpg")
    with pytest.raises(UserError, match="symbolic link that leaves"):
        load(str(tmp_path / "raf"))


def test_a_damaged_image_is_named(root: Path) -> None:
    (root / "Image" / "aligned" / "train_00003_aligned.jpg").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"train_00003_aligned\.jpg: not a readable"):
        load(str(root))


def test_a_box_far_off_is_refused(tmp_path: Path) -> None:
    write_raf_db(tmp_path, flat(5), [1], [False], boxes=[(5000.0, 10.0, 20.0, 20.0)])
    with pytest.raises(UserError, match=r"train_00001\.jpg: the face does not fit: .*mend its annotation"):
        load(str(tmp_path), images="original")


def test_a_root_without_the_list_names_field_and_source(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^data\.root=.*holds no folder EmoLabel; data\.root must hold"):
        load(str(tmp_path))
    with pytest.raises(UserError, match=r"^data\.root=.*no such folder"):
        load(str(tmp_path / "nowhere"))


def test_another_kind_of_image_is_refused(root: Path) -> None:
    with pytest.raises(UserError, match=r"data\.images=cropped: choose aligned or original"):
        load(str(root), images="cropped")
