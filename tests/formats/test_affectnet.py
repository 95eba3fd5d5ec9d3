"""AffectNet's csv and npy annotations, as published and damaged; nothing is unpickled."""

import csv
import io
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fedpriv.errors import FormatError, UserError
from fedpriv.formats.affectnet import (
    AffectNetTable,
    list_images,
    read_expression,
    read_table,
    write_folder,
    write_table,
)

HEADER = (
    "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,valence,arousal"
)


class Bomb:
    """Touches a file when it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (self.path,)


def table(tmp_path: Path, *rows: str, header: str | None = HEADER) -> Path:
    path = tmp_path / "training.csv"
    path.write_text("\n".join([*([header] if header else []), *rows]) + "\n")
    return path


def test_the_table_is_laid_out_as_published(tmp_path: Path) -> None:
    path = tmp_path / "training.csv"
    made = AffectNetTable(
        ("689/737db2.jpg", "1/a.png"), np.array([[134, 134, 899, 899], [0, 1, 2, 3]]), np.array([1, 10])
    )
    write_table(path, made)
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert ",".join(rows[0]) == HEADER
    assert rows[0]["subDirectory_filePath"] == "689/737db2.jpg"
    assert [rows[0][name] for name in ("face_x", "face_y", "face_width", "face_height")] == [
        "134",
        "134",
        "899",
        "899",
    ]
    assert len(rows[0]["facial_landmarks"].split(";")) == 136
    assert [row["expression"] for row in rows] == ["1", "10"]
    found = read_table(path)
    assert found.paths == made.paths
    assert found.expressions.tolist() == [1, 10]
    assert found.boxes[0].tolist() == [134, 134, 899, 899]


def test_a_file_without_header_has_the_published_order(tmp_path: Path) -> None:
    found = read_table(table(tmp_path, "1/a.jpg,1,2,3,4,0;0,6,0.1,-0.2", header=None))
    assert (found.paths, found.boxes.tolist(), found.expressions.tolist()) == (
        ("1/a.jpg",),
        [[1, 2, 3, 4]],
        [6],
    )


def test_columns_are_found_by_name(tmp_path: Path) -> None:
    header = "expression,subDirectory_filePath,face_x,face_y,face_width,face_height"
    found = read_table(table(tmp_path, "3,1/a.jpg,1,2,3,4", header=header))
    assert found.expressions.tolist() == [3]
    assert found.boxes.tolist() == [[1, 2, 3, 4]]


def test_no_box_is_asked_of_what_shows_no_face(tmp_path: Path) -> None:
    assert read_table(table(tmp_path, "1/a.jpg,NULL,NULL,NULL,NULL,,10,-2,-2")).expressions.tolist() == [10]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("../a.jpg,1,2,3,4,0,6,0,0", "no plain relative path"),
        ("/etc/a.jpg,1,2,3,4,0,6,0,0", "no plain relative path"),
        ("1/../../a.jpg,1,2,3,4,0,6,0,0", "no plain relative path"),
        ("C:\\a.jpg,1,2,3,4,0,6,0,0", "no plain relative path"),
        ("1/a,1,2,3,4,0,6,0,0", "no plain relative path"),
        ("1/a.jpg,1,2,0,4,0,6,0,0", "face box '1,2,0,4' is no"),
        ("1/a.jpg,1,2,x,4,0,6,0,0", "face box '1,2,x,4' is no"),
        ("1/a.jpg,1,2,99999999999,4,0,6,0,0", "face box"),
        ("1/a.jpg,1,2,3,4,0,11,0,0", "expression '11' is no whole number from 0 to 10"),
        ("1/a.jpg,1,2,3,4,0,nan,0,0", "expression 'nan' is no"),
        ("1/a.jpg,1,2,3,4,0,6,0", "8 fields instead of 9"),
        ("x" * 70_000, "longer than 65536 bytes"),
    ],
)
def test_another_row_is_refused_with_its_line(tmp_path: Path, row: str, reason: str) -> None:
    path = table(tmp_path, "1/a.jpg,1,2,3,4,0,6,0,0", row)
    with pytest.raises(FormatError, match=rf"training\.csv: line 3: .*{reason}"):
        read_table(path)


def test_a_header_without_a_column_and_a_table_without_rows_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="line 1: the header has no column expression"):
        read_table(table(tmp_path, header=HEADER.replace("expression", "emotion")))
    with pytest.raises(FormatError, match="lists no images"):
        read_table(table(tmp_path))


def test_a_part_is_laid_out_as_published(tmp_path: Path) -> None:
    part = tmp_path / "train_set"
    write_folder(part, [10, 9], np.full((2, 1, 224, 224), 7, dtype=np.uint8), [7, 0])
    assert sorted(path.name for path in (part / "annotations").iterdir()) == sorted(
        f"{number}_{kind}.npy" for number in (9, 10) for kind in ("exp", "val", "aro", "lnd")
    )
    with Image.open(part / "images" / "10.jpg") as image:
        assert (image.format, image.size, image.mode) == ("JPEG", (224, 224), "RGB")
    assert int(np.load(part / "annotations" / "10_exp.npy")) == 7
    assert list_images(part) == ["9", "10"]
    assert [read_expression(part, name) for name in ("9", "10")] == [0, 7]


def test_an_image_without_annotation_is_named(tmp_path: Path) -> None:
    write_folder(tmp_path, [1], np.zeros((1, 1, 224, 224), dtype=np.uint8), [0])
    (tmp_path / "annotations" / "1_exp.npy").unlink()
    with pytest.raises(UserError, match=r"1_exp\.npy: is missing \(1 such\)"):
        list_images(tmp_path)


@pytest.mark.parametrize(
    "value",
    [
        np.array("6"),
        np.array(b"6"),
        np.array(6),
        np.array([6], dtype=np.uint8),
        np.array(6.0),
        np.array("6.0"),
    ],
)
def test_every_way_to_hold_a_label_is_read(tmp_path: Path, value: np.ndarray) -> None:
    (tmp_path / "annotations").mkdir()
    np.save(tmp_path / "annotations" / "1_exp.npy", value)
    assert read_expression(tmp_path, "1") == 6


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (np.array([1, 2]), r"<i8 of shape \(2,\) instead of one label"),
        (np.zeros((1, 1, 1)), r"<f8 of shape \(1, 1, 1\) instead of one label"),
        (np.array("11"), "expression '11' is no whole number"),
        (np.array("happy"), "expression 'happy' is no"),
        (np.array(True), "not an npy file .* of a number or text"),
        (np.array(np.nan), "expression 'nan' is no"),
        (np.array(1 + 2j), "not an npy file .* of a number or text"),
        (np.zeros(4000), "the limit is 4096"),
    ],
)
def test_another_array_is_refused(tmp_path: Path, value: np.ndarray, reason: str) -> None:
    (tmp_path / "annotations").mkdir()
    np.save(tmp_path / "annotations" / "1_exp.npy", value)
    with pytest.raises(FormatError, match=rf"1_exp\.npy: .*{reason}"):
        read_expression(tmp_path, "1")


def test_an_array_of_objects_is_refused_with_the_mend_and_not_unpickled(tmp_path: Path) -> None:
    (tmp_path / "annotations").mkdir()
    trap = tmp_path / "trap"
    np.save(
        tmp_path / "annotations" / "1_exp.npy", np.array(Bomb(str(trap)), dtype=object), allow_pickle=True
    )
    with pytest.raises(FormatError, match=r"array of objects.*save it again with numpy\.save"):
        read_expression(tmp_path, "1")
    assert not trap.exists()


def test_an_array_that_lies_about_its_length_takes_no_memory(tmp_path: Path) -> None:
    (tmp_path / "annotations").mkdir()
    path = tmp_path / "annotations" / "1_exp.npy"
    np.save(path, np.array([6]))
    path.write_bytes(path.read_bytes().replace(b"(1,), }     ", b"(999999999,), }", 1)[: path.stat().st_size])
    with pytest.raises(FormatError, match=r"1_exp\.npy"):
        read_expression(tmp_path, "1")
    np.save(path, np.array("6"))
    path.write_bytes(path.read_bytes().replace(b"<U1", b"<U9", 1))
    with pytest.raises(FormatError, match="instead of one label"):
        read_expression(tmp_path, "1")


@pytest.mark.parametrize(
    "data", [b"", b"\x93NUMPY", b"\x93NUMPY\x01\x00\xff\xff{", b"\x93NUMPY\x09\x00", b"PK\3\4"]
)
def test_what_is_no_npy_file_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "1_exp.npy").write_bytes(data)
    with pytest.raises(FormatError, match="not an npy file"):
        read_expression(tmp_path, "1")


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from([np.array("6"), np.array(b"6"), np.array(6), np.array(6.0)]),
    st.lists(
        st.tuples(st.integers(0, 140), st.sampled_from(b"'(){}[],LUOSVm<>|0123456789-\x00\xff")), max_size=6
    ),
)
def test_damage_anywhere_is_refused_or_read_but_never_crashes(
    tmp_path_factory: pytest.TempPathFactory, value: np.ndarray, damage: list[tuple[int, int]]
) -> None:
    buffer = io.BytesIO()
    np.save(buffer, value)
    data = bytearray(buffer.getvalue())
    for place, byte in damage:
        data[place % len(data)] = byte
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "annotations").mkdir()
    (folder / "annotations" / "1_exp.npy").write_bytes(data)
    try:
        found = read_expression(folder, "1")
    except FormatError:
        return
    assert found in range(11)
