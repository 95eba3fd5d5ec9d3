"""MPIIGaze's files: the published layout seen with plain SciPy, and refusals in one line."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.io

from fedpriv.errors import FormatError
from fedpriv.formats.mpiigaze import Day, Eyes, Sample, read_day, read_samples, write_day, write_samples


def day(count: int, seed: int = 0) -> Day:
    random = np.random.default_rng(seed)

    def eyes() -> Eyes:
        gaze = random.normal(size=(count, 3))
        return Eyes(
            random.integers(0, 256, (count, 36, 60), dtype=np.uint8),
            gaze / np.linalg.norm(gaze, axis=1, keepdims=True),
            random.normal(size=(count, 3)),
        )

    return Day(tuple(f"{index:04d}.jpg" for index in range(1, count + 1)), eyes(), eyes())


def same(first: Eyes, second: Eyes) -> None:
    np.testing.assert_array_equal(first.images, second.images)
    np.testing.assert_array_equal(first.gaze, second.gaze)
    np.testing.assert_array_equal(first.pose, second.pose)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_what_is_written_is_read(tmp_path, count):
    written = day(count)
    write_day(tmp_path / "p00" / "day01.mat", written)
    read = read_day(tmp_path / "p00" / "day01.mat", tmp_path)
    assert read.filenames == written.filenames
    same(read.left, written.left)
    same(read.right, written.right)


def test_the_layout_is_the_one_that_public_loaders_read(tmp_path):
    written = day(3)
    write_day(tmp_path / "day01.mat", written)
    # as tools/preprocess_mpiigaze.py of hysts/pytorch_mpiigaze opens it
    loaded = scipy.io.loadmat(tmp_path / "day01.mat", struct_as_record=False, squeeze_me=True)
    assert loaded["filenames"].tolist() == ["0001.jpg", "0002.jpg", "0003.jpg"]
    for side in ("left", "right"):
        eyes = getattr(loaded["data"], side)
        assert (eyes.image.shape, eyes.image.dtype) == ((3, 36, 60), np.uint8)
        assert (eyes.gaze.shape, eyes.pose.shape) == ((3, 3), (3, 3))
    np.testing.assert_array_equal(loaded["data"].right.image, written.right.images)


def test_a_day_of_one_frame_looks_squeezed_to_public_loaders_yet_reads_whole(tmp_path):
    write_day(tmp_path / "day01.mat", day(1))
    loaded = scipy.io.loadmat(tmp_path / "day01.mat", struct_as_record=False, squeeze_me=True)
    assert loaded["filenames"] == "0001.jpg"
    assert loaded["data"].left.image.shape == (36, 60)
    assert read_day(tmp_path / "day01.mat", tmp_path).left.images.shape == (1, 36, 60)


def test_a_frame_saved_without_its_first_axis_reads_too(tmp_path):
    frame = {
        "image": np.zeros((36, 60), np.uint8),
        "gaze": np.array([[0, 0, -1.0]]),
        "pose": np.zeros((1, 3)),
    }
    names = np.array([["0001.jpg"]], dtype=object)
    scipy.io.savemat(tmp_path / "a.mat", {"data": {"left": frame, "right": frame}, "filenames": names})
    assert read_day(tmp_path / "a.mat", tmp_path).right.images.shape == (1, 36, 60)


def test_pixels_saved_as_doubles_read_too(tmp_path):
    written = day(2)
    doubles = replace(written.left, images=written.left.images.astype(np.float64))
    write_day(tmp_path / "day01.mat", replace(written, left=doubles))
    read = read_day(tmp_path / "day01.mat", tmp_path).left.images
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, written.left.images)


def test_a_text_array_of_names_is_read(tmp_path):
    # MATLAB's char matrix instead of a cell array: what squeeze and SciPy make of both is a list of names
    frame = {
        "image": np.zeros((2, 36, 60), np.uint8),
        "gaze": np.tile([0, 0, -1.0], (2, 1)),
        "pose": np.ones((2, 3)),
    }
    content = {"data": {"left": frame, "right": frame}, "filenames": np.array(["0001.jpg", "0002.jpg"])}
    scipy.io.savemat(tmp_path / "a.mat", content)
    assert read_day(tmp_path / "a.mat", tmp_path).filenames == ("0001.jpg", "0002.jpg")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"images": np.zeros((2, 36, 61), np.uint8)}, r"data\.left\.image: .*\(2, 36, 61\)"),
        ({"images": np.zeros((2, 36, 60), np.int8)}, r"data\.left\.image: int8"),
        ({"images": np.full((2, 36, 60), 256.0)}, r"data\.left\.image: pixels outside 0 to 255"),
        ({"images": np.full((2, 36, 60), np.nan)}, r"data\.left\.image: pixels outside 0 to 255"),
        ({"gaze": np.zeros((3, 3))}, r"data\.left\.gaze: .*\(3, 3\)"),
        ({"gaze": np.full((2, 3), np.nan)}, r"data\.left\.gaze: holds a value that is not finite"),
        ({"gaze": np.ones((2, 3))}, r"data\.left\.gaze: row 0 has length 1\.73"),
        ({"pose": np.array([[0, 0, 0], [0, np.inf, 0.0]])}, r"data\.left\.pose: holds a value"),
    ],
)
def test_a_wrong_field_is_named(tmp_path, change, reason):
    whole = day(2)
    write_day(tmp_path / "day01.mat", replace(whole, left=replace(whole.left, **change)))
    with pytest.raises(FormatError, match=rf"day01\.mat: {reason}") as caught:
        read_day(tmp_path / "day01.mat", tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"x": 1.0}, "filenames: is missing"),
        ({"filenames": np.array([["0001.jpg"]], dtype=object)}, "data: is no structure"),
        ({"filenames": np.array([[1.0]], dtype=object), "data": 1.0}, "filenames: holds what is no text"),
        (
            {"filenames": np.array([["0001.jpg"]], dtype=object), "data": {"left": 1.0}},
            r"data\.left: is no structure",
        ),
        (
            {"filenames": np.array([["0001.jpg"]], dtype=object), "data": {"left": {"gaze": 1.0}}},
            r"data\.left\.image: is missing|data\.right: is no structure",
        ),
    ],
)
def test_another_structure_is_named(tmp_path, content, reason):
    scipy.io.savemat(tmp_path / "a.mat", content)
    with pytest.raises(FormatError, match=reason):
        read_day(tmp_path / "a.mat", tmp_path)


def test_evaluation_lists_are_lines_of_path_and_side(tmp_path):
    samples = (Sample("day01", "0005.jpg", "left"), Sample("day13", "0200.jpg", "right"))
    write_samples(tmp_path / "p00.txt", samples)
    assert (tmp_path / "p00.txt").read_text() == "day01/0005.jpg left\nday13/0200.jpg right\n"
    assert read_samples(tmp_path / "p00.txt", tmp_path) == samples


def test_windows_line_ends_and_blank_lines_are_read(tmp_path):
    (tmp_path / "p00.txt").write_bytes(b"day01/0005.jpg left\r\n\r\n")
    assert read_samples(tmp_path / "p00.txt", tmp_path) == (Sample("day01", "0005.jpg", "left"),)


@pytest.mark.parametrize(
    "line", ["../../etc/passwd left", "day01/0005.jpg middle", "day01/0005.jpg", "\udcff"]
)
def test_any_other_line_is_named(tmp_path, line):
    (tmp_path / "p00.txt").write_bytes(f"day01/0001.jpg left\n{line}\n".encode(errors="surrogateescape"))
    with pytest.raises(FormatError, match=r"p00\.txt: line 2: .*need 'dayYY/NNNN\.jpg left\|right'"):
        read_samples(tmp_path / "p00.txt", tmp_path)
