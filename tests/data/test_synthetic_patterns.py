import numpy as np
import pytest

from fedpriv.data.synthetic_patterns import load
from fedpriv.errors import UserError

SMALL = {"people": 12, "images_per_person": 40, "classes": 4, "size": 16}


def test_shapes_and_types_are_as_documented():
    made = load(**SMALL)
    assert made.images.shape == (480, 3, 16, 16)
    assert made.targets.dtype == np.int64
    assert set(made.targets) == set(range(4))
    assert np.array_equal(made.subjects, np.repeat(np.arange(12), 40))
    assert len(set(made.subject_names)) == 12


def test_the_seed_decides_everything():
    first, again, other = load(**SMALL), load(**SMALL), load(**SMALL, seed=1)
    assert np.array_equal(first.images, again.images)
    assert np.array_equal(first.targets, again.targets)
    assert not np.array_equal(first.images, other.images)


def test_the_classes_can_be_told_from_the_pixels_of_other_people():
    made = load(**SMALL)
    pixels = made.images.reshape(len(made), -1).astype(np.float64)
    train, test = made.subjects < 8, made.subjects >= 8
    means = np.stack([pixels[train & (made.targets == c)].mean(axis=0) for c in range(4)])
    nearest = ((pixels[test, None, :] - means) ** 2).sum(axis=2).argmin(axis=1)
    assert np.mean(nearest == made.targets[test]) > 0.95


def test_the_noise_around_a_pattern_has_the_documented_strength():
    made = load(people=1, images_per_person=400, classes=1, size=8)
    # before clipping to bytes: 48; clipping takes a little away
    assert 40 < made.images.std(axis=0).mean() < 48.5


def test_people_see_the_classes_in_different_proportions():
    made = load(**SMALL)
    counts = np.array([np.bincount(made.targets[made.subjects == p], minlength=4) for p in range(12)])
    # Dirichlet(1) over 4 classes: a standard deviation of 0.19 in the shares; equal shares would show 0.07
    assert 0.12 < (counts / 40).std(axis=0).mean() < 0.3


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"people": 0}, r"data\.people=0: must be at least 1"),
        ({"images_per_person": 0}, r"data\.images_per_person=0: must be at least 1"),
        ({"classes": -1}, r"data\.classes=-1: must be at least 1"),
        ({"size": 10}, r"data\.size=10: must be a multiple of 4, at least 8"),
        ({"size": 4}, r"data\.size=4: must be a multiple of 4, at least 8"),
        ({"people": 10**9}, r"data\.people=1000000000: \d+ pixels are more than \d+; lower it"),
    ],
)
def test_values_out_of_range_are_refused_before_anything_is_made(changed, message):
    with pytest.raises(UserError, match=message):
        load(**{**SMALL, **changed})
