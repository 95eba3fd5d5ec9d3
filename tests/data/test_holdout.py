"""Protocols: nobody who is tested was trained on; every fold tests everybody once."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedpriv.data import holdout
from fedpriv.data.dataset import ImageDataset
from fedpriv.errors import UserError
from fedpriv.pairs import VerificationPairs


def dataset(people=6, **changes):
    subjects = np.repeat(np.arange(people), 3)
    return ImageDataset(
        name="tiny",
        images=np.zeros((len(subjects), 1, 2, 2), np.uint8),
        targets=np.arange(len(subjects)),
        subjects=subjects,
        subject_names=tuple(f"p{person}" for person in range(people)),
        **changes,
    )


def people(part):
    return set(part.subjects.tolist())


@given(st.integers(2, 12), st.data())
def test_people_are_never_on_both_sides_and_no_image_is_lost(count, data):
    whole = dataset(count)
    held_out = data.draw(st.integers(1, count - 1))
    folds = data.draw(st.integers(2, count))
    seed = data.draw(st.integers(0, 99))
    splits = [
        holdout.unseen_people(whole, held_out, seed),
        holdout.one_person(whole, count - 1),
        holdout.subject_fold(whole, 0, folds),
    ]
    for training, test in splits:
        assert not people(training) & people(test)
        assert sorted([*training.targets, *test.targets]) == list(range(len(whole)))
    assert len(people(splits[0][1])) == held_out
    assert len(people(splits[1][1])) == 1


@given(st.integers(2, 12), st.data())
def test_the_folds_test_every_person_exactly_once(count, data):
    folds = data.draw(st.integers(2, count))
    tested = [holdout.subject_fold(dataset(count), fold, folds)[1] for fold in range(folds)]
    assert sorted(person for part in tested for person in people(part)) == list(range(count))
    sizes = [len(people(part)) for part in tested]
    assert max(sizes) - min(sizes) <= 1


def test_the_published_split_is_the_authors():
    mask = np.zeros(18, np.bool_)
    mask[[1, 17]] = True
    training, test = holdout.published(dataset(held_out=mask))
    assert test.targets.tolist() == [1, 17]
    assert len(training) == 16


def test_a_set_of_pairs_is_all_test_and_keeps_its_pairs():
    pairs = VerificationPairs(np.array([0]), np.array([1]), np.array([True]))
    training, test = holdout.published(dataset(pairs=pairs))
    assert len(training) == 0
    assert test.pairs is pairs


@pytest.mark.parametrize(
    ("split", "message"),
    [
        (lambda: holdout.unseen_people(dataset(), 6, 0), r"test_subjects=6: .*between 1 and 5"),
        (lambda: holdout.unseen_people(dataset(), 0, 0), r"test_subjects=0"),
        (lambda: holdout.one_person(dataset(), 6), r"fold=6: .*choose 0 to 5"),
        (lambda: holdout.one_person(dataset(1), 0), r"fold=0: .*1 people"),
        (lambda: holdout.subject_fold(dataset(), 0, 7), r"folds=7: .*choose 2 to 6"),
        (lambda: holdout.subject_fold(dataset(), 3, 3), r"fold=3: .*choose 0 to 2"),
        (lambda: holdout.published(dataset()), "no published split"),
        (lambda: holdout.published(dataset(held_out=np.zeros(18, np.bool_))), "no image of the test part"),
    ],
)
def test_impossible_splits_are_refused_in_one_line(split, message):
    with pytest.raises(UserError, match=message):
        split()


@given(st.integers(1, 5), st.integers(1, 9), st.floats(0.01, 0.99), st.integers(0, 99))
def test_of_each_person_with_two_images_some_are_held_out_and_some_are_not(persons, images, part, seed):
    subjects = np.repeat(np.arange(persons), images)
    whole = ImageDataset(
        name="tiny",
        images=np.zeros((len(subjects), 1, 2, 2), np.uint8),
        targets=np.arange(len(subjects)),
        subjects=subjects,
        subject_names=tuple(f"p{person}" for person in range(persons)),
    )
    share = np.flatnonzero(np.arange(len(subjects)) % 4 != 3)
    counts = np.bincount(subjects[share], minlength=persons)
    if not (counts > 1).any():
        with pytest.raises(UserError, match="client 3 has no two images of one person"):
            holdout.own_images(whole, share, part, seed, 3)
        return
    train, held_out = holdout.own_images(whole, share, part, seed, 3)
    np.testing.assert_array_equal(np.sort(np.concatenate([train, held_out])), share)
    np.testing.assert_array_equal(train, np.sort(train))
    for person, count in enumerate(counts):
        kept_back = int(np.sum(subjects[held_out] == person))
        assert kept_back == (0 if count < 2 else min(count - 1, max(1, round(count * part))))
    again = holdout.own_images(whole, share, part, seed, 3)
    np.testing.assert_array_equal(again[1], held_out)


def test_which_of_its_images_a_client_holds_out_differs_with_the_seed_and_the_client():
    whole = dataset(20)
    share = np.arange(len(whole))
    found = {holdout.own_images(whole, share, 0.3, seed, k)[1].tobytes() for seed in (0, 1) for k in (0, 1)}
    assert len(found) == 4
