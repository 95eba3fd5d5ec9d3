"""FER2013's csv: the published layout, Kaggle's variants, and rows that are not as they should be."""

import csv
import io
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedpriv.errors import FormatError, UserError
from fedpriv.formats.fer2013 import USAGES, read_images, read_labels, write_fer2013

ROW = " ".join(str(value % 256) for value in range(2304))


def faces(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 1, 48, 48), dtype=np.uint8)


def every(path: Path) -> np.ndarray:
    count = len(read_labels(path).emotions)
    return np.stack(list(read_images(path, np.arange(count))))


def written(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_the_file_is_laid_out_as_published(tmp_path: Path) -> None:
    images = faces(3)
    write_fer2013(tmp_path / "fer2013.csv", images, [6, 0, 3], [0, 1, 2])
    with (tmp_path / "fer2013.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["emotion", "pixels", "Usage"]
    assert [(row[0], row[2]) for row in rows] == [
        ("6", "Training"),
        ("0", "PublicTest"),
        ("3", "PrivateTest"),
    ]
    for row, image in zip(rows, images, strict=True):
        assert [int(value) for value in row[1].split(" ")] == image.reshape(-1).tolist()


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    path, images = tmp_path / "fer2013.csv", faces(5)
    write_fer2013(path, images, [0, 1, 2, 3, 6], [0, 0, 1, 2, 2])
    labels = read_labels(path)
    assert labels.emotions.tolist() == [0, 1, 2, 3, 6]
    assert labels.usages is not None
    assert [USAGES[usage] for usage in labels.usages] == [
        "Training",
        "Training",
        "PublicTest",
        "PrivateTest",
        "PrivateTest",
    ]
    np.testing.assert_array_equal(every(path), images)


def test_pixels_are_row_by_row(tmp_path: Path) -> None:
    path = written(tmp_path / "x.csv", f"emotion,pixels,Usage\n0,{ROW},Training\n")
    image = every(path)[0, 0]
    assert image[0, :3].tolist() == [0, 1, 2]
    assert image[1, 0] == 48


def test_chosen_rows_alone_are_parsed(tmp_path: Path) -> None:
    path, images = tmp_path / "fer2013.csv", faces(4)
    write_fer2013(path, images, [0] * 4, [0] * 4)
    broken = path.read_text().splitlines()
    broken[3] = broken[3].replace(" ", "x")
    written(path, "\n".join(broken))
    np.testing.assert_array_equal(list(read_images(path, np.array([0, 1, 3]))), images[[0, 1, 3]])


@pytest.mark.parametrize(
    "text",
    [
        f"emotion, Usage, pixels\n3,PrivateTest,{ROW}\n",  # icml_face_data.csv
        f"emotion, Usage, pixels\r\n3, PrivateTest, {ROW}\r\n",
        f'"emotion","pixels","Usage"\n"3","{ROW}","PrivateTest"\n',
        f"\ufeffEmotion,Pixels,Usage\n3,{ROW},PrivateTest",  # no line end
        f"emotion,pixels,Usage\n3,{ROW} ,PrivateTest\n\n",  # a trailing space and a blank line
    ],
    ids=["kaggle", "spaces", "quotes", "bom", "trailing"],
)
def test_variants_of_the_file_are_read(tmp_path: Path, text: str) -> None:
    path = written(tmp_path / "x.csv", text)
    labels = read_labels(path)
    assert labels.emotions.tolist() == [3]
    assert labels.usages is not None
    assert USAGES[labels.usages[0]] == "PrivateTest"
    assert every(path).ravel()[:3].tolist() == [0, 1, 2]


def test_the_competitions_train_csv_has_no_usage(tmp_path: Path) -> None:
    path = written(tmp_path / "train.csv", f"emotion,pixels\n3,{ROW}\n")
    assert read_labels(path).usages is None
    assert every(path).shape == (1, 1, 48, 48)


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("pixels\n", 1, "no single column emotion .*test.csv has no labels"),
        ("emotion,Usage\n", 1, "no single column pixels"),
        ("emotion,pixels,pixels\n", 1, "no single column pixels"),
        ("", 1, "no single column"),
        ("emotion,pixels,Usage\n", 1, "holds no images"),
        (f"emotion,pixels,Usage\n0,{ROW},Training\n7,{ROW},Training\n", 3, "emotion '7' is none of 0 to 6"),
        (f"emotion,pixels,Usage\n0.0,{ROW},Training\n", 2, "emotion '0.0' is none"),
        (f"emotion,pixels,Usage\n0,{ROW},Test\n", 2, "usage 'Test' is none of Training, PublicTest"),
        (f"emotion,pixels,Usage\n0,{ROW}\n", 2, "2 fields, the header names 3"),
        ("emotion,pixels,Usage\n0,1 2 3,Training\n", 2, "too short for 2304 pixels"),
        ("emotion,pixels,Usage\n0," + "1 " * 9000 + ",Training\n", 2, "longer than 16384 bytes"),
        ("\0" * 50_000, 1, "longer than 16384 bytes"),
        (b"\xff\xfe\x00\x01 \n", 1, "no single column"),
    ],
)
def test_what_is_no_fer2013_is_refused_with_its_line(
    tmp_path: Path, text: str, line: int, reason: str
) -> None:
    path = written(tmp_path / "x.csv", text)
    with pytest.raises(FormatError, match=rf"x\.csv: line {line}: .*{reason}"):
        read_labels(path)


def replaced(place: int, value: str) -> str:
    words = ROW.split(" ")
    words[place] = value
    return " ".join(words)


@pytest.mark.parametrize(
    ("pixels", "reason"),
    [
        (replaced(2303, "256"), "pixel '256' is no whole number from 0 to 255"),
        (replaced(0, "-1"), "pixel '-1' is no"),
        (replaced(7, "1.5"), r"pixel '1\.5' is no"),
        (replaced(7, "1e2"), "pixel '1e2' is no"),
        (replaced(7, "nan"), "pixel 'nan' is no"),
        (replaced(7, "65536"), "pixel '65536' is no"),
        (replaced(7, "18446744073709551621"), "pixel '18446744073709551621' is no"),
        (replaced(7, "9" * 5000), "pixel '99999999999999999999' is no"),
        (replaced(2303, "255x"), "pixel '255x' is no"),
        (replaced(7, "1\t2"), "2305 pixels instead of 2304"),
        (ROW + " 5", "2305 pixels instead of 2304"),
        (ROW[:-4], "2303 pixels instead of 2304"),
    ],
)
def test_what_is_no_pixel_is_refused_with_its_line(tmp_path: Path, pixels: str, reason: str) -> None:
    path = written(tmp_path / "x.csv", f"emotion,pixels,Usage\n0,{ROW},Training\n1,{pixels},Training\n")
    with pytest.raises(FormatError, match=rf"x\.csv: line 3: {reason}"):
        every(path)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=400), st.integers(0, 9000), st.booleans())
def test_damage_anywhere_is_refused_or_read_but_never_crashes(
    tmp_path_factory: pytest.TempPathFactory, damage: bytes, place: int, insert: bool
) -> None:
    buffer = io.BytesIO(f"emotion,pixels,Usage\n0,{ROW},Training\n".encode())
    whole = buffer.getvalue()
    rest = whole[place:] if insert else whole[place + len(damage) :]
    path = written(tmp_path_factory.mktemp("fuzz") / "x.csv", whole[:place] + damage + rest)
    try:
        images = every(path)
    except FormatError:
        return
    assert images.dtype == np.uint8
    assert images.shape[1:] == (1, 48, 48)


def test_memory_stays_flat_while_images_are_read(tmp_path: Path) -> None:
    path = tmp_path / "fer2013.csv"
    write_fer2013(path, (face for face in faces(1) for _ in range(600)), [0] * 600, [0] * 600)
    tracemalloc.start()
    for _ in read_images(path, np.arange(600)):
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert path.stat().st_size > 3_000_000
    assert peak < 2_500_000


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.csv: cannot be read"):
        read_labels(tmp_path / "none.csv")


def test_an_image_of_another_size_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="FER2013 holds uint8"):
        write_fer2013(tmp_path / "x.csv", [np.zeros((1, 48, 47), dtype=np.uint8)], [0], [0])
    assert list(tmp_path.iterdir()) == []
