"""GazeCapture's recordings: the published layout seen with plain json, and refusals."""

import json
from dataclasses import replace

import numpy as np
import pytest

from fedpriv.errors import FormatError
from fedpriv.formats.gazecapture import Recording, list_recordings, read_recording, sources, write_recording


@pytest.fixture
def recording():
    face = np.array([[10.0, 20, 100, 100], [11, 21, 101, 101]])
    return Recording(
        "val",
        ("00000.jpg", "00007.jpg"),
        np.array([True, True]),
        np.array([[1.5, -3.0], [-2.0, 4.0]]),
        face,
        np.array([[60.0, 40, 30, 30], [61, 41, 31, 31]]),
        np.array([[20.0, 40, 30, 30], [21, 41, 31, 31]]),
    )


@pytest.fixture
def folder(tmp_path, recording):
    write_recording(tmp_path / "00042", recording)
    return tmp_path / "00042"


def edit(folder, name, **fields):
    path = folder / f"{name}.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def refused(folder, reason):
    with pytest.raises(FormatError, match=reason) as caught:
        read_recording(folder, folder.parent)
    assert "\n" not in str(caught.value)


def test_what_is_written_is_read(folder, recording):
    read = read_recording(folder, folder.parent)
    assert (read.split, read.frames) == (recording.split, recording.frames)
    for field in ("valid", "point", "face", "left_eye", "right_eye"):
        np.testing.assert_array_equal(getattr(read, field), getattr(recording, field))


def test_the_layout_is_the_readmes(folder):
    found = {path.name: json.loads(path.read_text()) for path in folder.iterdir()}
    assert found["frames.json"] == ["00000.jpg", "00007.jpg"]
    assert set(found["appleFace.json"]) == {"X", "Y", "W", "H", "IsValid"}
    assert found["appleFace.json"]["X"] == [10, 11]
    # relative to the face, not to the frame
    assert found["appleLeftEye.json"]["X"] == [50, 50]
    assert found["appleRightEye.json"]["Y"] == [20, 20]
    assert found["dotInfo.json"]["XCam"] == [1.5, -2.0]
    assert set(found["dotInfo.json"]) == {"DotNum", "XPts", "YPts", "XCam", "YCam", "Time"}
    assert found["info.json"]["Dataset"] == "val"
    assert found["info.json"]["TotalFrames"] == 2
    boxes = ("appleFace", "appleLeftEye", "appleRightEye", "faceGrid")
    assert set(found) == {f"{name}.json" for name in (*boxes, "dotInfo", "frames", "info", "screen")}


@pytest.mark.parametrize("name", ["appleFace", "appleLeftEye", "appleRightEye", "faceGrid"])
def test_a_frame_is_valid_only_where_all_four_files_say_so(folder, name):
    edit(folder, name, IsValid=[1, 0], W=[30, 0], H=[30, 0])
    assert read_recording(folder, folder.parent).valid.tolist() == [True, False]


@pytest.mark.parametrize(
    ("name", "fields", "reason"),
    [
        ("info", {"Dataset": "training"}, r"info\.json: Dataset: need one of"),
        ("dotInfo", {"XCam": [1.0]}, r"dotInfo\.json: XCam: .*\(2,\)"),
        ("dotInfo", {"YCam": [1.0, None]}, r"dotInfo\.json: YCam"),
        ("dotInfo", {"YCam": [1.0, float("nan")]}, r"dotInfo\.json: YCam: .*not finite"),
        ("dotInfo", {"YCam": [[1.0], 2.0]}, r"dotInfo\.json: YCam: is ragged"),
        ("dotInfo", {"YCam": ["1", "2"]}, r"dotInfo\.json: YCam"),
        ("appleFace", {"W": [0, 100]}, r"appleFace\.json: W, H: a valid box"),
        ("appleLeftEye", {"X": [1, 2, 3]}, r"appleLeftEye\.json: X"),
        ("faceGrid", {"IsValid": 1}, r"faceGrid\.json: IsValid"),
    ],
)
def test_a_wrong_field_is_named(folder, name, fields, reason):
    edit(folder, name, **fields)
    refused(folder, reason)


@pytest.mark.parametrize("names", [["../secret.jpg", "00001.jpg"], [0, 1], ["00000.png", "00001.png"]])
def test_frames_by_other_names_are_refused(folder, names):
    (folder / "frames.json").write_text(json.dumps(names))
    refused(folder, r"frames\.json: .*need names like 00000\.jpg")


def test_a_missing_file_is_named(folder):
    (folder / "frames").mkdir()
    assert all(path.exists() for path in sources(folder))
    (folder / "faceGrid.json").unlink()
    with pytest.raises(FormatError, match=r"faceGrid\.json: is missing"):
        sources(folder)
    refused(folder, r"faceGrid\.json: cannot be read")


def test_recordings_are_folders_of_five_digits(tmp_path, recording):
    for name in ("00010", "00002", "123456", "notes"):
        write_recording(tmp_path / name, replace(recording))
    (tmp_path / "00003").write_text("no folder")
    assert [folder.name for folder in list_recordings(tmp_path)] == ["00002", "00010"]
