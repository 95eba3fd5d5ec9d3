"""CK+'s sequences, labels and landmarks, as published and damaged."""

from pathlib import Path

import numpy as np
import pytest

from fedpriv.errors import FormatError, UserError
from fedpriv.formats.ck_plus import Sequence, list_sequences, read_landmarks, write_sequence

POINTS = np.arange(136, dtype=np.float64).reshape(68, 2) + 0.25


def sequence(subject: str, number: str, count: int, label: int | None) -> Sequence:
    return Sequence(
        subject, number, tuple(f"{subject}_{number}_{frame + 1:08d}" for frame in range(count)), label
    )


def write(root: Path, subject: str, number: str, count: int, label: int | None) -> Sequence:
    made = sequence(subject, number, count, label)
    write_sequence(root, made, [np.zeros((1, 49, 64), dtype=np.uint8)] * count, [POINTS] * count)
    return made


def test_a_sequence_is_laid_out_as_published(tmp_path: Path) -> None:
    write(tmp_path, "S005", "001", 2, 3)
    files = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file())
    assert files == [
        "Emotion/S005/001/S005_001_00000002_emotion.txt",
        "Landmarks/S005/001/S005_001_00000001_landmarks.txt",
        "Landmarks/S005/001/S005_001_00000002_landmarks.txt",
        "cohn-kanade-images/S005/001/S005_001_00000001.png",
        "cohn-kanade-images/S005/001/S005_001_00000002.png",
    ]
    assert (tmp_path / files[0]).read_text() == "   3.0000000e+00\n"
    lines = (tmp_path / files[1]).read_text().splitlines()
    assert len(lines) == 68
    assert lines[1] == "   2.2500000e+00   3.2500000e+00"


def test_sequences_come_by_person_and_number_with_or_without_a_label(tmp_path: Path) -> None:
    made = [
        write(tmp_path, "S999", "003", 3, None),
        write(tmp_path, "S005", "002", 1, 0),
        write(tmp_path, "S005", "001", 11, 7),
    ]
    assert list_sequences(tmp_path) == made[::-1]


def test_hidden_files_and_others_are_ignored(tmp_path: Path) -> None:
    made = write(tmp_path, "S005", "001", 2, 3)
    images = tmp_path / "cohn-kanade-images"
    (images / ".DS_Store").write_text("")
    (images / "S005" / ".DS_Store").write_text("")
    (images / "S005" / "001" / ".DS_Store").write_text("")
    (images / "S005" / "001" / "._S005_001_00000001.png").write_text("")
    (images / "S005" / "001" / "S006_001_00000009.png").write_text("")
    (tmp_path / "Emotion" / "S005" / "001" / "._S005_001_00000002_emotion.txt").write_text("")
    assert list_sequences(tmp_path) == [made]


@pytest.mark.parametrize("text", ["8", "-1", "1.5", "nan", "", "happy", "3.0 4.0"])
def test_another_label_is_refused(tmp_path: Path, text: str) -> None:
    write(tmp_path, "S005", "001", 2, 3)
    (tmp_path / "Emotion/S005/001/S005_001_00000002_emotion.txt").write_text(text)
    with pytest.raises(FormatError, match=r"_emotion\.txt: line 1: label .* is no whole number from 0 to 7"):
        list_sequences(tmp_path)


def test_two_labels_for_one_sequence_are_refused(tmp_path: Path) -> None:
    write(tmp_path, "S005", "001", 2, 3)
    (tmp_path / "Emotion/S005/001/S005_001_00000001_emotion.txt").write_text("1")
    with pytest.raises(FormatError, match="2 labels for one sequence"):
        list_sequences(tmp_path)


@pytest.mark.parametrize("missing", ["cohn-kanade-images", "Emotion"])
def test_a_missing_folder_is_named(tmp_path: Path, missing: str) -> None:
    for name in {"cohn-kanade-images", "Emotion"} - {missing}:
        (tmp_path / name).mkdir()
    with pytest.raises(UserError, match=f"holds no folder {missing}"):
        list_sequences(tmp_path)


def test_landmarks_are_read_as_x_and_y(tmp_path: Path) -> None:
    made = write(tmp_path, "S005", "001", 1, 3)
    np.testing.assert_allclose(
        read_landmarks(tmp_path, made.landmarks(tmp_path, made.frames[0])), POINTS, rtol=1e-7
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("1 2\n" * 67, "67 points instead of 68"),
        ("1 2\n" * 69, "69 points instead of 68"),
        ("1 2\n" * 67 + "1\n", "line 68: not two numbers"),
        ("1 2\n" * 67 + "1 x\n", "line 68: not two numbers"),
        ("1 2\n" * 67 + "1 inf\n", "not finite"),
        ("1 2\n" * 9000, "the limit is 16384"),
    ],
)
def test_other_landmarks_are_refused(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "x_landmarks.txt"
    path.write_text(text)
    with pytest.raises(FormatError, match=rf"x_landmarks\.txt: .*{reason}"):
        read_landmarks(tmp_path, path)
