"""The data set gazecapture: crops, mirrored eyes, the published split, and what a user gets wrong."""

import json

import numpy as np
import pytest
from PIL import Image

from fedpriv.data.gazecapture import load
from fedpriv.data.holdout import published
from fedpriv.errors import UserError
from fedpriv.formats.gazecapture import Recording, write_recording

FACE, LEFT_EYE, RIGHT_EYE = (100, 100, 200, 200), (220, 150, 60, 60), (120, 150, 60, 60)


def write(root, name, split, greys, point=(6.0, -4.0)):
    """Frames whose grey value says which; the left half of either eye's box is white."""
    folder = root / name
    (folder / "frames").mkdir(parents=True)
    count = len(greys)
    for index, grey in enumerate(greys):
        frame = np.full((640, 480), grey, dtype=np.uint8)
        for x, y, width, height in (LEFT_EYE, RIGHT_EYE):
            frame[y : y + height, x : x + width // 2] = 255
        Image.fromarray(frame).convert("RGB").save(folder / "frames" / f"{index:05d}.jpg", quality=100)
    recording = Recording(
        split,
        tuple(f"{index:05d}.jpg" for index in range(count)),
        np.ones(count, dtype=bool),
        np.tile(point, (count, 1)),
        *(np.tile(np.array(box, dtype=float), (count, 1)) for box in (FACE, LEFT_EYE, RIGHT_EYE)),
    )
    write_recording(folder, recording)


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("FEDPRIV_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "GazeCapture"
    write(root, "00002", "train", [10, 20, 30])
    write(root, "00005", "val", [40])
    write(root, "00009", "test", [50, 60])
    return root


def test_both_eyes_of_a_frame_follow_each_other_the_right_one_mirrored(root):
    dataset = load(str(root))
    assert dataset.images.shape == (10, 1, 36, 60)
    left, right = dataset.images[0, 0].astype(int), dataset.images[1, 0].astype(int)
    assert (left[:, :25] > 240).all()
    assert (left[:, 35:] < 20).all()
    assert np.abs(left - right[:, ::-1]).max() < 6
    pitch, yaw = dataset.targets[0]
    assert yaw == pytest.approx(np.arctan2(6, 30))
    assert pitch == pytest.approx(np.arctan2(-4, np.hypot(6, 30)))
    np.testing.assert_allclose(dataset.targets[1], [pitch, -yaw])


def test_the_published_split_holds_the_test_people_out(root):
    dataset = load(str(root))
    assert dataset.subject_names == ("00002", "00009")
    training, test = published(dataset)
    assert set(training.subjects) == {0}
    assert set(test.subjects) == {1}


@pytest.mark.parametrize(
    ("validation", "held_out"), [("train", [False, False, True]), ("held_out", [False, True, True])]
)
def test_validation_people_go_where_they_are_told(root, validation, held_out):
    dataset = load(str(root), validation=validation)
    assert dataset.subject_names == ("00002", "00005", "00009")
    assert [bool(dataset.held_out[dataset.subjects == person][0]) for person in range(3)] == held_out


def test_frames_without_detections_are_left_out_and_so_are_people_without_frames(root):
    for name, valid in (("00002", [1, 0, 1]), ("00009", [0, 0])):
        path = root / name / "appleRightEye.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "IsValid": valid}))
    dataset = load(str(root), region="face", size=16)
    assert dataset.subject_names == ("00002",)
    assert np.abs(dataset.images[:, 0, 15, 15].astype(int) - [10, 30]).max() <= 2


def test_faces_are_colour_squares(root):
    dataset = load(str(root), region="face", size=20)
    assert dataset.images.shape == (5, 3, 20, 20)
    # of the face's 200 pixels the left eye's white half takes 120 to 150, from 50 to 110 downwards
    assert (dataset.images[0, :, 6:10, 13] > 230).all()
    assert (dataset.images[0, :, 12:, :] < 30).all()


def test_a_box_that_leaves_the_frame_is_filled_with_black(root):
    path = root / "00002" / "appleFace.json"
    content = json.loads(path.read_text())
    content.update(X=[380] * 3, W=[200] * 3)
    path.write_text(json.dumps(content))
    face = load(str(root), region="face", size=20, max_people=1).images[2, 0]
    assert (face[15:, :9] > 20).all()
    assert (face[:, 11:] == 0).all()


def test_a_box_outside_the_frame_is_refused_with_its_file(root):
    path = root / "00002" / "appleFace.json"
    content = json.loads(path.read_text())
    content.update(X=[480] * 3)
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"frames/00000\.jpg: box x=480 .*: not in 480 x 640 pixels"):
        load(str(root), region="face")


def test_the_distance_changes_targets_not_pixels(root):
    near, far = load(str(root), distance_cm=20.0), load(str(root), distance_cm=60.0)
    assert near.targets[0, 1] == pytest.approx(np.arctan2(6, 20))
    assert far.targets[0, 1] == pytest.approx(np.arctan2(6, 60))
    np.testing.assert_array_equal(near.images, far.images)


def test_limits(root):
    dataset = load(str(root), max_people=1, max_images=2)
    assert dataset.subjects.tolist() == [0] * 4
    assert np.abs(dataset.images[::2, 0, 18, 50].astype(int) - [10, 20]).max() <= 3


def test_what_a_user_gets_wrong_is_named(root, tmp_path):
    for field, value in (("region", "nose"), ("validation", "test"), ("distance_cm", 1.0), ("max_images", 0)):
        with pytest.raises(UserError, match=rf"data\.{field}={value}: "):
            load(str(root), **{field: value})
    with pytest.raises(UserError, match=r"data\.root=.*: holds no recordings"):
        load(str(root / "00002"))
    (root / "00002" / "frames" / "00001.jpg").unlink()
    with pytest.raises(UserError, match=r"00002/frames/00001\.jpg: cannot be read"):
        load(str(root))
