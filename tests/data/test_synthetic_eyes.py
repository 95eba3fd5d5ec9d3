import numpy as np
import pytest

from fedpriv.data import synthetic_eyes
from fedpriv.data.synthetic.eyes import render_person
from fedpriv.errors import UserError


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FEDPRIV_CACHE", str(tmp_path))


def test_the_data_set_holds_every_person_in_turn():
    dataset = synthetic_eyes.load(people=3, images_per_person=4, seed=5)
    assert dataset.name == "synthetic_eyes"
    assert dataset.image_shape == (1, 36, 60)
    assert dataset.targets.dtype == np.float32
    assert dataset.subjects.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert len(set(dataset.subject_names)) == 3
    for person in range(3):
        expected = render_person(5, person, 4)
        np.testing.assert_array_equal(dataset.images[4 * person : 4 * person + 4], expected.images)
        np.testing.assert_array_equal(dataset.targets[4 * person : 4 * person + 4], expected.gaze)


def test_a_second_load_renders_nothing(monkeypatch):
    first = synthetic_eyes.load(people=2, images_per_person=3)
    monkeypatch.setattr(synthetic_eyes, "render_person", lambda *_: pytest.fail("rendered again"))
    second = synthetic_eyes.load(people=2, images_per_person=3)
    np.testing.assert_array_equal(first.images, second.images)
    assert not second.images.flags.writeable
    assert second.targets.flags.writeable


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"people": 0}, "data.people=0"),
        ({"people": 2.5}, "data.people=2.5"),
        ({"people": True}, "data.people=True"),
        ({"images_per_person": -3}, "data.images_per_person=-3"),
        ({"seed": -1}, "data.seed=-1"),
        ({"people": 10**6, "images_per_person": 100}, "data.people=1000000, data.images_per_person=100"),
    ],
)
def test_arguments_out_of_range_are_named(arguments, field):
    with pytest.raises(UserError, match=f"^{field}: "):
        synthetic_eyes.load(**arguments)
