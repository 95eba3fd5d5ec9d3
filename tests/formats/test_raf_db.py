"""RAF-DB's list, boxes and images, as published and damaged."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fedpriv.errors import FormatError, UserError
from fedpriv.formats.raf_db import read_box, read_list, write_raf_db


def listed(root: Path, text: str, name: str = "list_patition_label.txt") -> Path:
    (root / "EmoLabel").mkdir(exist_ok=True)
    (root / "EmoLabel" / name).write_text(text)
    return root


@pytest.mark.parametrize("name", ["list_patition_label.txt", "list_partition_label.txt"])
def test_both_spellings_of_the_list_are_read(tmp_path: Path, name: str) -> None:
    text = "train_00001.jpg 5\ntest_0001.jpg 7\r\ntrain_00002.jpg  1\n\n"
    found = read_list(listed(tmp_path, text, name))
    assert found.names == ("train_00001", "test_0001", "train_00002")
    assert found.labels.tolist() == [5, 7, 1]
    assert found.test.tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("train_00002.jpg 8", "is no line like"),
        ("train_00002.jpg 0", "is no line like"),
        ("train_00002.jpg", "is no line like"),
        ("../../etc/passwd.jpg 1", "is no line like"),
        ("/train_00002.jpg 1", "is no line like"),
        ("train_00001.jpg 1", "is listed twice"),
        ("x" * 5000, "is no line like"),
        (" " * 300 + "train_00002.jpg 1", "is no line like"),
    ],
)
def test_another_line_is_refused(tmp_path: Path, line: str, reason: str) -> None:
    root = listed(tmp_path, f"train_00001.jpg 5\n{line}\n")
    with pytest.raises(FormatError, match=rf"list_patition_label\.txt: line 2: .*{reason}"):
        read_list(root)


def test_an_empty_list_and_none_at_all_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no EmoLabel/list_patition_label\.txt"):
        read_list(tmp_path)
    with pytest.raises(FormatError, match="lists no images"):
        read_list(listed(tmp_path, "\n"))


def test_a_list_that_is_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    inside = tmp_path / "raf"
    (inside / "EmoLabel").mkdir(parents=True)
    (tmp_path / "elsewhere.txt").write_text("train_00001.jpg 5\n")
    (inside / "EmoLabel" / "list_patition_label.txt").symlink_to(tmp_path / "elsewhere.txt")
    with pytest.raises(FormatError, match="symbolic link that leaves"):
        read_list(inside)


def test_aligned_images_are_laid_out_as_published(tmp_path: Path) -> None:
    images = np.full((3, 1, 100, 100), 90, dtype=np.uint8)
    write_raf_db(tmp_path, images, [1, 7, 4], [False, True, False])
    assert (tmp_path / "EmoLabel" / "list_patition_label.txt").read_text() == (
        "train_00001.jpg 1\ntest_0001.jpg 7\ntrain_00002.jpg 4\n"
    )
    files = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.jpg"))
    assert files == [
        "Image/aligned/test_0001_aligned.jpg",
        "Image/aligned/train_00001_aligned.jpg",
        "Image/aligned/train_00002_aligned.jpg",
    ]
    with Image.open(tmp_path / files[0]) as image:
        assert (image.format, image.size, image.mode) == ("JPEG", (100, 100), "RGB")


def test_originals_come_with_left_top_right_bottom(tmp_path: Path) -> None:
    images = [np.zeros((3, 60, 80), dtype=np.uint8)]
    write_raf_db(tmp_path, images, [2], [False], boxes=[(10.0, 20.0, 30.5, 25.0)])
    path = tmp_path / "Annotation" / "boundingbox" / "train_00001_boundingbox.txt"
    assert [float(word) for word in path.read_text().split()] == [10.0, 20.0, 40.5, 45.0]
    assert read_box(tmp_path, "train_00001") == (10.0, 20.0, 30.5, 25.0)
    assert (tmp_path / "Image" / "original" / "train_00001.jpg").is_file()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("1 2 3", "not four numbers"),
        ("1 2 3 4 5", "not four numbers"),
        ("a b c d", "not four numbers"),
        ("3 2 1 4", "is empty"),
        ("nan 2 3 4", "is empty"),
        ("0 0 inf 4", "is empty"),
        ("1 " * 5000, "the limit is 4096"),
    ],
)
def test_another_box_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    folder = tmp_path / "Annotation" / "boundingbox"
    folder.mkdir(parents=True)
    (folder / "train_00001_boundingbox.txt").write_text(text)
    with pytest.raises(FormatError, match=rf"train_00001_boundingbox\.txt: .*{reason}"):
        read_box(tmp_path, "train_00001")
