import numpy as np
import pytest

from fedpriv.data import synthetic_faces
from fedpriv.data.synthetic_faces import render_portraits
from fedpriv.errors import UserError


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FEDPRIV_CACHE", str(tmp_path))


def test_the_data_set_holds_every_person_in_turn():
    dataset = synthetic_faces.load(people=3, images_per_person=4, size=32, seed=5)
    assert dataset.name == "synthetic_faces"
    assert dataset.image_shape == (3, 32, 32)
    assert dataset.targets.dtype == np.int64
    assert dataset.targets.tolist() == dataset.subjects.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert len(set(dataset.subject_names)) == 3
    for person in range(3):
        expected = render_portraits(5, person, 4, 32)
        np.testing.assert_array_equal(dataset.images[4 * person : 4 * person + 4], expected)


def test_pictures_are_colourful_bytes_with_contrast():
    images = render_portraits(0, 0, 12, 112)
    assert images.dtype == np.uint8
    assert images.shape == (12, 3, 112, 112)
    assert images.reshape(12, -1).std(axis=1).min() > 10
    assert np.abs(images[:, 0].astype(int) - images[:, 2]).mean() > 5


def test_a_second_load_renders_nothing(monkeypatch):
    first = synthetic_faces.load(people=2, images_per_person=2, size=24)
    monkeypatch.setattr(synthetic_faces, "render_portraits", lambda *_: pytest.fail("rendered again"))
    second = synthetic_faces.load(people=2, images_per_person=2, size=24)
    np.testing.assert_array_equal(first.images, second.images)
    assert not second.images.flags.writeable


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"people": 0}, "data.people=0"),
        ({"people": True}, "data.people=True"),
        ({"people": 10**30}, "data.people=1" + 30 * "0"),
        ({"images_per_person": 2.5}, "data.images_per_person=2.5"),
        ({"size": 15}, "data.size=15"),
        ({"size": 513}, "data.size=513"),
        ({"seed": -1}, "data.seed=-1"),
        ({"people": 10**5, "images_per_person": 100}, "data.people=100000, data.images_per_person=100"),
    ],
)
def test_arguments_out_of_range_are_named(arguments, field):
    with pytest.raises(UserError, match=f"^{field}[:,] ") as refused:
        synthetic_faces.load(**arguments)
    assert "\n" not in str(refused.value)
