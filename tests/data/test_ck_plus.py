"""CK+ as a data set: peak frames, people in order, folds, face boxes, and refusals."""

from pathlib import Path

import numpy as np
import pytest

from fedpriv.data.ck_plus import load
from fedpriv.data.holdout import subject_fold
from fedpriv.errors import UserError
from fedpriv.formats.ck_plus import Sequence, write_sequence

LEFT, TOP = 40, 30


def points() -> np.ndarray:
    """Landmarks of a face whose box is the 48 x 48 pixels from (LEFT, TOP) on."""
    made = np.full((68, 2), 5.0)
    made[36:42] = (LEFT + 0.30 * 48, TOP + 0.38 * 48)
    made[42:48] = (LEFT + 0.70 * 48, TOP + 0.38 * 48)
    return made


def write(root: Path, subject: int, number: int, label: int | None, levels: list[int]) -> None:
    """Write a sequence whose frames show a face of one grey level each, on white."""
    name = f"S{subject:03d}_{number:03d}"
    frames = tuple(f"{name}_{frame + 1:08d}" for frame in range(len(levels)))
    images = []
    for level in levels:
        picture = np.full((1, 120, 160), 255, dtype=np.uint8)
        picture[:, TOP : TOP + 48, LEFT : LEFT + 48] = level
        images.append(picture)
    sequence = Sequence(name[:4], name[5:], frames, label)
    write_sequence(root, sequence, images, [points()] * len(levels))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write(tmp_path, 10, 1, 5, [1, 2, 3, 4, 5])  # happy
    write(tmp_path, 5, 1, 3, [11, 12, 13, 14])  # disgust
    write(tmp_path, 5, 2, 2, [21, 22, 23])  # contempt
    write(tmp_path, 5, 3, None, [31, 32, 33])
    write(tmp_path, 7, 1, None, [41, 42, 43])
    return tmp_path


def levels(dataset: object) -> list[int]:
    images = np.asarray(dataset.images)  # type: ignore[attr-defined]
    assert (images == images[:, :1, :1, :1]).all()
    return [int(value) for value in images[:, 0, 0, 0]]


def test_the_last_three_frames_of_labelled_sequences_are_taken_people_in_order(root: Path) -> None:
    dataset = load(str(root), neutral=False)
    assert levels(dataset) == [12, 13, 14, 3, 4, 5]
    assert [dataset.class_names[target] for target in dataset.targets] == ["disgust"] * 3 + ["happy"] * 3
    assert dataset.subject_names == ("S005", "S010")
    assert dataset.subjects.tolist() == [0, 0, 0, 1, 1, 1]
    assert dataset.held_out is None


def test_the_first_frame_counts_as_neutral(root: Path) -> None:
    dataset = load(str(root))
    assert levels(dataset) == [11, 12, 13, 14, 1, 3, 4, 5]
    assert [dataset.class_names[target] for target in dataset.targets][::4] == ["neutral", "neutral"]


def test_another_number_of_frames_can_be_had(root: Path) -> None:
    assert levels(load(str(root), frames=1, neutral=False)) == [14, 5]


def test_people_without_an_image_of_the_seven_are_no_people(root: Path) -> None:
    write(root, 6, 1, 2, [51, 52, 53])
    assert load(str(root)).subject_names == ("S005", "S010")


def test_folds_never_share_a_person(root: Path) -> None:
    for person in range(20, 31):
        write(root, person, 1, 1, [person] * 3)
    dataset = load(str(root), neutral=False)
    held_out = []
    for fold in range(10):
        training, test = subject_fold(dataset, fold, 10)
        assert not set(training.subjects) & set(test.subjects)
        held_out += [dataset.subject_names[subject] for subject in np.unique(test.subjects)]
    assert sorted(held_out) == sorted(dataset.subject_names)


def test_the_eye_region_lies_in_the_face(root: Path) -> None:
    dataset = load(str(root), region="eye", neutral=False)
    assert dataset.image_shape == (1, 36, 60)
    assert levels(dataset) == [12, 13, 14, 3, 4, 5]


def test_cropped_copies_need_no_landmarks(root: Path) -> None:
    for path in (root / "Landmarks").rglob("*.txt"):
        path.unlink()
    with pytest.raises(UserError, match=r"_landmarks\.txt: is missing; get it, or set data\.crop=centre"):
        load(str(root))
    assert load(str(root), crop="centre").image_shape == (1, 48, 48)


def test_only_the_first_people_can_be_had(root: Path) -> None:
    assert load(str(root), max_people=1).subject_names == ("S005",)


def test_eyes_on_one_point_are_named(root: Path) -> None:
    path = root / "Landmarks" / "S010" / "001" / "S010_001_00000005_landmarks.txt"
    path.write_text("5 5\n" * 68)
    with pytest.raises(UserError, match=r"S010_001_00000005_landmarks\.txt: both eyes lie on one point"):
        load(str(root))


def test_a_sequence_too_short_is_named(root: Path) -> None:
    with pytest.raises(UserError, match=r"data\.frames=5: .*S005/001 has 4 frames; choose fewer"):
        load(str(root), frames=5)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"frames": 0}, r"data\.frames=0: choose 1 to 20"),
        ({"crop": "box"}, r"data\.crop=box: choose landmarks or centre"),
        ({"max_people": 0}, r"data\.max_people=0: must be at least 1"),
        ({"size": 8}, r"data\.size=8"),
    ],
)
def test_settings_out_of_range_are_named(root: Path, settings: dict[str, object], reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        load(str(root), **settings)  # type: ignore[arg-type]


def test_a_root_without_the_folders_names_field_and_source(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^data\.root=.*holds no cohn-kanade-images and Emotion; data\.root"):
        load(str(tmp_path))
