"""UnityEyes' files: the published layout seen with plain json, the crop, and refusals."""

import json

import numpy as np
import pytest

from fedpriv.errors import FormatError
from fedpriv.formats.unityeyes import EyeLabel, eye_box, list_eyes, read_label, write_label


@pytest.fixture
def label():
    rim = np.array([[200.0 + 5 * index, 150.0 + (index % 3)] for index in range(16)])
    rim[8] = [290.0, 151.0]
    return EyeLabel(
        np.array([0.1, 0.2, -0.97]), rim, np.full((7, 2), [190.0, 149.0]), np.full((32, 2), [240.0, 150.0])
    )


@pytest.fixture
def path(tmp_path, label):
    write_label(tmp_path / "1.json", label)
    return tmp_path / "1.json"


def test_what_is_written_is_read(path, label):
    read = read_label(path, path.parent)
    for field in ("look", "interior_margin", "caruncle", "iris"):
        np.testing.assert_allclose(getattr(read, field), getattr(label, field), atol=1e-6)


def test_the_layout_is_text_tuples_under_the_published_keys(path):
    content = json.loads(path.read_text())
    assert content["eye_details"]["look_vec"] == "(0.100000, 0.200000, -0.970000, 0.000000)"
    lengths = {key: len(value) for key, value in content.items() if key.endswith("_2d")}
    assert lengths == {"interior_margin_2d": 16, "caruncle_2d": 7, "iris_2d": 32}
    # public loaders evaluate each text to a tuple of three
    assert content["iris_2d"][0] == "(240.000000, 150.000000, 9.000000)"
    assert content["head_pose"] == "(0.0, 180.0, 0.0)"


def test_the_box_is_gazemls(label):
    x, y, width, height = eye_box(label, 384, 36, 60)
    assert width == 1.5 * (290 - 190)
    assert height == width * 36 / 60
    # the middle of the rim, with y turned round
    assert x + width / 2 == (200 + 290) / 2
    assert y + height / 2 == 384 - (150 + 152) / 2


def test_pairs_are_listed_in_natural_order(tmp_path):
    for name in ("10.json", "2.json", "2.jpg", "10.jpg", "3.json", "4.jpg"):
        (tmp_path / name).touch()
    assert [path.name for path in list_eyes(tmp_path)] == ["2.json", "10.json"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"eye_details": 3}, "eye_details: is missing"),
        ({"eye_details": {}}, "eye_details.look_vec: 'None', need text like"),
        ({"eye_details": {"look_vec": "(0, 0, 0, 0)"}}, "eye_details.look_vec: .* is no unit vector"),
        ({"eye_details": {"look_vec": "__import__('os')"}}, "eye_details.look_vec: .*need text like"),
        ({"eye_details": {"look_vec": "(nan, 0, -1, 0)"}}, "eye_details.look_vec: .*need text like"),
        ({"eye_details": {"look_vec": "(0, 0)"}}, "eye_details.look_vec: .*need text like"),
        ({"eye_details": {"look_vec": "(" + "0, " * 9999 + "0)"}}, "eye_details.look_vec: .*need text like"),
        ({"caruncle_2d": []}, "caruncle_2d: need 7 points"),
        ({"iris_2d": ["(0, 0, 0)"] * 31 + [None]}, "iris_2d: 'None', need text like"),
    ],
)
def test_a_wrong_field_is_named(path, change, reason):
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(FormatError, match=rf"1\.json: {reason}") as caught:
        read_label(path, path.parent)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400
