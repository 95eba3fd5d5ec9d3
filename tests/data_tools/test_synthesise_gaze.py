"""Synthetic gaze data in published layouts: readers give back what was rendered."""

import importlib

import numpy as np
import pytest

from data_tools.synthesise_gaze import FORMATS, write_gaze
from fedpriv.data import synthetic_eyes
from fedpriv.errors import UserError


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FEDPRIV_CACHE", str(tmp_path / "cache"))


def load(name, root, **settings):
    return importlib.import_module(f"fedpriv.data.{name}").load(str(root), **settings)


@pytest.mark.parametrize("images", [1, 7, 42])
def test_mpiigaze_gives_back_synthetic_eyes_to_the_bit(tmp_path, images):
    write_gaze(tmp_path / "out", "mpiigaze", people=2, images_per_person=images, seed=5)
    expected = synthetic_eyes.load(people=2, images_per_person=images, seed=5)
    read = load("mpiigaze", tmp_path / "out")
    np.testing.assert_array_equal(read.images, expected.images)
    np.testing.assert_allclose(read.targets, expected.targets, atol=1e-7)
    np.testing.assert_array_equal(read.subjects, expected.subjects)
    assert read.subject_names == ("p00", "p01")
    # an odd picture has no partner: its frame's other eye is its mirror image, in no list
    assert len(load("mpiigaze", tmp_path / "out", subset="all")) == 2 * (images + images % 2)


def test_unityeyes_gives_back_synthetic_eyes_but_for_jpeg_and_resizing(tmp_path):
    write_gaze(tmp_path / "out", "unityeyes", people=2, images_per_person=6, seed=5)
    expected = synthetic_eyes.load(people=2, images_per_person=6, seed=5)
    read = load("unityeyes", tmp_path / "out")
    np.testing.assert_allclose(read.targets, expected.targets, atol=1e-5)
    difference = np.asarray(read.images).astype(int) - expected.images
    assert np.abs(difference).mean() < 4
    assert len(read.subject_names) == 12


def test_gazecaptures_left_eyes_are_synthetic_eyes_and_its_right_eyes_look_the_same_way(tmp_path):
    write_gaze(tmp_path / "out", "gazecapture", people=2, images_per_person=12, seed=5)
    expected = synthetic_eyes.load(people=2, images_per_person=12, seed=5)
    read = load("gazecapture", tmp_path / "out")
    np.testing.assert_allclose(read.targets[::2], expected.targets, atol=1e-5)
    np.testing.assert_allclose(read.targets[1::2], expected.targets * [1, -1], atol=1e-5)
    difference = np.asarray(read.images)[::2].astype(int) - expected.images
    assert np.abs(difference).mean() < 6
    assert read.held_out.tolist() == [False] * 24 + [True] * 24


@pytest.mark.parametrize("name", ["mpiigaze", "gazecapture", "unityeyes"])
def test_the_iris_lies_where_the_gaze_points(tmp_path, name):
    """Independent of any label's formula: dark pixels lie to the left where yaw is positive."""
    write_gaze(tmp_path / "out", name, people=3, images_per_person=24, seed=1)
    read = load(name, tmp_path / "out")
    pixels = np.asarray(read.images)[:, 0, 8:28, 12:48].astype(float)
    dark = np.clip(np.quantile(pixels, 0.3, axis=(1, 2), keepdims=True) - pixels, 0, None)
    across = (dark * np.arange(36)).sum(axis=(1, 2)) / dark.sum(axis=(1, 2))
    for side in (slice(0, None, 2), slice(1, None, 2)):  # left eyes and, but for UnityEyes, right ones
        assert np.corrcoef(across[side], read.targets[side, 1])[0, 1] < -0.5


@pytest.mark.parametrize("name", ["mpiifacegaze", "eth_xgaze"])
def test_faces_come_back_with_their_gaze_and_the_left_eye_on_the_right(tmp_path, name):
    write_gaze(tmp_path / "out", name, people=2, images_per_person=2, seed=5)
    expected = synthetic_eyes.load(people=2, images_per_person=2, seed=5)
    read = load(name, tmp_path / "out", size=192)
    np.testing.assert_allclose(read.targets, expected.targets, atol=1e-6)
    assert read.images.shape == (4, 3, 192, 192)
    difference = np.asarray(read.images)[:, 0, 60:96, 108:168].astype(int) - expected.images[:, 0]
    assert np.abs(difference).mean() < 6


@pytest.mark.parametrize("name", FORMATS)
def test_the_same_seed_writes_the_same_labels(tmp_path, name):
    for folder in ("a", "b"):
        write_gaze(tmp_path / folder, name, people=1, images_per_person=2, seed=9)
    np.testing.assert_array_equal(load(name, tmp_path / "a").targets, load(name, tmp_path / "b").targets)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"format": "fer2013"}, "--format=fer2013: choose one of eth_xgaze"),
        ({"people": 0}, "--people=0: need 1 to 100"),
        ({"people": 101}, "--people=101: need 1 to 100"),
        ({"images_per_person": 0}, "--images-per-person=0: need 1 to 9999"),
        ({"seed": -1}, "--seed=-1"),
    ],
)
def test_what_is_out_of_range_is_refused(tmp_path, settings, reason):
    chosen = {"format": "mpiigaze", "people": 1, "images_per_person": 2, "seed": 0, **settings}
    with pytest.raises(UserError, match=reason):
        write_gaze(tmp_path / "out", **chosen)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_not_empty_is_left_alone(tmp_path):
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(UserError, match="is not empty"):
        write_gaze(tmp_path, "mpiigaze", people=1, images_per_person=2, seed=0)
    assert [entry.name for entry in tmp_path.iterdir()] == ["mine"]
