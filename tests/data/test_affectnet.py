"""AffectNet as a data set, in both releases: labels, split, boxes, and refusals."""

import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fedpriv.data.affectnet import load
from fedpriv.errors import UserError
from fedpriv.formats.affectnet import AffectNetTable, write_folder, write_table

ALL = ["neutral", "happy", "sad", "surprise", "fear", "disgust", "angry"]


def flat(*levels: int) -> list[np.ndarray]:
    return [np.full((1, 224, 224), level, dtype=np.uint8) for level in levels]


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    write_folder(tmp_path / "train_set", range(8), flat(*range(0, 160, 20)), range(8))
    write_folder(tmp_path / "val_set", [3, 200], flat(200, 220), [1, 0])
    return tmp_path


@pytest.fixture
def csvs(tmp_path: Path) -> Path:
    boxes = np.array([[100, 50, 40, 40], [100, 50, 40, 40], [0, 0, 0, 0]], dtype=np.int64)
    write_table(
        tmp_path / "training.csv",
        AffectNetTable(("1/a.jpg", "2/b.png", "2/c.jpg"), boxes, np.array([6, 7, 10])),
    )
    write_table(tmp_path / "validation.csv", AffectNetTable(("1/d.jpg",), boxes[:1], np.array([2])))
    for name, level in (("1/a.jpg", 100), ("2/b.png", 120), ("1/d.jpg", 140)):
        picture = np.zeros((200, 300), dtype=np.uint8)
        picture[50:90, 100:140] = level
        path = tmp_path / "Manually_Annotated_Images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(path)
    return tmp_path


def test_the_release_of_folders_gives_both_parts(folders: Path) -> None:
    dataset = load(str(folders))
    assert dataset.images.shape == (9, 1, 48, 48)
    assert [dataset.class_names[target] for target in dataset.targets] == [*ALL, "happy", "neutral"]
    assert dataset.held_out is not None
    assert dataset.held_out.tolist() == [False] * 7 + [True] * 2
    levels = np.asarray(dataset.images)[:, 0, 24, 24].astype(int)
    assert np.abs(levels - [0, 20, 40, 60, 80, 100, 120, 200, 220]).max() <= 1


def test_what_is_none_of_the_seven_is_left_out_and_logged(
    folders: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "fedpriv"):
        load(str(folders))
    assert "data=affectnet: left out, none of the seven expressions: 1 labelled 7" in caplog.text


def test_a_changed_annotation_changes_the_labels(folders: Path) -> None:
    load(str(folders))
    path = folders / "train_set" / "annotations" / "0_exp.npy"
    np.save(path, np.array("10"))
    dataset = load(str(folders))
    assert len(dataset) == 8
    assert np.asarray(dataset.images)[0, 0, 0, 0] == 20


def test_the_original_release_is_cut_by_its_boxes(csvs: Path) -> None:
    dataset = load(str(csvs))
    assert [dataset.class_names[target] for target in dataset.targets] == ["angry", "sad"]
    assert dataset.held_out is not None
    assert dataset.held_out.tolist() == [False, True]
    middle = np.asarray(dataset.images)[:, 0, 4:-4, 4:-4].astype(int)
    assert np.abs(middle - np.array([100, 140])[:, None, None]).max() <= 8


def test_images_may_lie_beside_the_tables(csvs: Path) -> None:
    for folder in (csvs / "Manually_Annotated_Images").iterdir():
        folder.rename(csvs / folder.name)
    assert len(load(str(csvs))) == 2


def test_a_missing_image_is_named(csvs: Path) -> None:
    (csvs / "Manually_Annotated_Images" / "1" / "d.jpg").unlink()
    with pytest.raises(UserError, match=r"1/d\.jpg: is listed and missing"):
        load(str(csvs))


def test_images_that_lie_elsewhere_are_asked_for(csvs: Path) -> None:
    (csvs / "Manually_Annotated_Images").rename(csvs / "pictures")
    with pytest.raises(UserError, match=r"^data\.root=.*1/a\.jpg of training\.csv lies in none of Manually"):
        load(str(csvs))


@pytest.mark.parametrize("shape", [(1, 36, 60), (3, 64, 64)])
def test_eyes_and_colour_can_be_had(folders: Path, shape: tuple[int, int, int]) -> None:
    settings = {"region": "eye"} if shape[0] == 1 else {"size": 64, "colour": True}
    assert load(str(folders), **settings).image_shape == shape  # type: ignore[arg-type]


def test_a_limit_takes_images_evenly_from_both_parts(folders: Path) -> None:
    dataset = load(str(folders), max_images=3)
    assert dataset.held_out is not None
    assert dataset.held_out.tolist() == [False, False, True]


def test_a_root_without_either_release_names_field_and_source(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"^data\.root=.*holds neither release; data\.root must hold train_set"
    ):
        load(str(tmp_path))


def test_nothing_but_contempt_is_refused(tmp_path: Path) -> None:
    write_folder(tmp_path / "train_set", [1], flat(0), [7])
    write_folder(tmp_path / "val_set", [1], flat(0), [8])
    with pytest.raises(UserError, match="data=affectnet has no image of the seven expressions"):
        load(str(tmp_path))
