import numpy as np
import pytest

from fedpriv.data import synthetic_expressions
from fedpriv.data.emotions import EMOTIONS
from fedpriv.data.synthetic.face_actions import EMOTION_UNITS, UNITS, draw_units
from fedpriv.data.synthetic.face_moods import draw_emotions, mix
from fedpriv.data.synthetic_expressions import render_expressions
from fedpriv.errors import UserError


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FEDPRIV_CACHE", str(tmp_path))


@pytest.mark.parametrize(("region", "shape"), [("face", (1, 48, 48)), ("eye", (1, 36, 60))])
def test_the_data_set_holds_every_person_in_turn(region, shape):
    dataset = synthetic_expressions.load(people=3, images_per_person=6, region=region, seed=5)
    assert dataset.name == "synthetic_expressions"
    assert dataset.image_shape == shape
    assert dataset.class_names == EMOTIONS
    assert dataset.targets.dtype == np.int64
    assert dataset.subjects.tolist() == [0] * 6 + [1] * 6 + [2] * 6
    for person in range(3):
        shown, labels = draw_emotions(5, person, 6, 0.05)
        rows = slice(6 * person, 6 * person + 6)
        np.testing.assert_array_equal(
            dataset.images[rows], render_expressions(5, person, shown.tolist(), region)
        )
        np.testing.assert_array_equal(dataset.targets[rows], labels)
    assert dataset.images.reshape(18, -1).std(axis=1).min() > 5


def test_the_order_of_the_classes_is_the_one_of_the_whole_framework():
    assert tuple(EMOTION_UNITS) == EMOTIONS
    assert {unit for units in EMOTION_UNITS.values() for unit in units} == set(UNITS)


def test_label_noise_changes_labels_but_no_picture():
    clean = synthetic_expressions.load(people=2, images_per_person=8, label_noise=0)
    noisy = synthetic_expressions.load(people=2, images_per_person=8, label_noise=1.0)
    np.testing.assert_array_equal(clean.images, noisy.images)
    assert np.all(clean.targets != noisy.targets)


def test_as_many_labels_are_wrong_as_asked_for_and_wrong_ones_are_of_all_kinds():
    drawn = [draw_emotions(0, person, 200, 0.2) for person in range(60)]
    shown, labels = np.concatenate([a for a, _ in drawn]), np.concatenate([b for _, b in drawn])
    assert np.mean(shown != labels) == pytest.approx(0.2, abs=0.015)
    offsets = np.bincount((labels - shown)[shown != labels] % 7, minlength=7)
    assert offsets[0] == 0
    assert offsets[1:].min() > 0.8 * offsets[1:].max()


def test_every_person_has_an_own_mix_of_classes_which_balances_over_many():
    mixes = np.array([mix(0, person) for person in range(400)])
    np.testing.assert_allclose(mixes.sum(axis=1), 1.0)
    # the variance of a Dirichlet(2) share is (1/7)(6/7) / (7 * 2 + 1)
    assert mixes.var(axis=0) == pytest.approx(np.full(7, 6 / 49 / 15), rel=0.25)
    assert mixes.mean(axis=0) == pytest.approx(np.full(7, 1 / 7), abs=0.015)
    counts = np.bincount(draw_emotions(0, 0, 4000, 0.0)[0], minlength=7) / 4000
    np.testing.assert_allclose(counts, mixes[0], atol=0.03)


def test_emotions_and_pictures_depend_on_seed_person_and_index_alone():
    shown, labels = draw_emotions(3, 4, 30, 0.3)
    for count in (1, 7, 29):
        few = draw_emotions(3, 4, count, 0.3)
        np.testing.assert_array_equal(few[0], shown[:count])
        np.testing.assert_array_equal(few[1], labels[:count])
    many = render_expressions(3, 4, shown[:9].tolist(), "eye")
    np.testing.assert_array_equal(render_expressions(3, 4, shown[:5].tolist(), "eye"), many[:5])
    assert not np.array_equal(render_expressions(3, 5, shown[:1].tolist(), "eye"), many[:1])
    assert not np.array_equal(render_expressions(4, 4, shown[:1].tolist(), "eye"), many[:1])


def test_the_emotion_changes_the_picture_and_nothing_else_of_the_view():
    happy, surprised = (render_expressions(0, 0, [emotion], "face").astype(int) for emotion in (3, 5))
    change = np.abs(happy - surprised)[0, 0]
    assert change[8:].max() > 25
    # background and hair at the top corners only see another exposure
    assert change[:4, :4].mean() < 12


@pytest.mark.parametrize("emotion", range(7))
def test_units_of_a_class_are_shown_and_others_seldom(emotion):
    random = np.random.default_rng(0)
    units = np.array([draw_units(emotion, random) for _ in range(2000)])
    assert units.dtype == np.float32
    assert units.min() >= 0.0
    assert units.max() <= 1.0
    shown = (units > 0).mean(axis=0)
    for column, name in enumerate(UNITS):
        if name in EMOTION_UNITS[EMOTIONS[emotion]]:
            assert shown[column] > 0.6
            assert 0.35 <= units[units[:, column] > 0, column].mean() <= 0.85
        else:
            assert shown[column] == pytest.approx(0.05, abs=0.02)
            assert units[:, column].max() <= 0.4


def test_how_often_randomness_is_asked_does_not_depend_on_the_emotion():
    states = []
    for emotion in range(7):
        random = np.random.default_rng(9)
        draw_units(emotion, random)
        states.append(random.random())
    assert len(set(states)) == 1


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"people": 0}, "data.people=0"),
        ({"images_per_person": False}, "data.images_per_person=False"),
        ({"seed": 1.5}, "data.seed=1.5"),
        ({"region": "mouth"}, "data.region=mouth"),
        ({"label_noise": 1.5}, "data.label_noise=1.5"),
        ({"label_noise": float("nan")}, "data.label_noise=nan"),
        ({"label_noise": "much"}, "data.label_noise=much"),
        ({"people": 10**6}, "data.people=1000000, data.images_per_person=70"),
    ],
)
def test_arguments_out_of_range_are_named(arguments, field):
    with pytest.raises(UserError, match=f"^{field}: "):
        synthetic_expressions.load(**arguments)
