"""Accuracy, macro F1 and confusion matrix against hand cases and scikit-learn."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn import metrics as reference

from fedpriv.metrics.classification import accuracy, class_recalls, confusion_matrix, macro_f1

Labels = NDArray[np.int64]


def ints(*values: int) -> Labels:
    return np.array(values, dtype=np.int64)


@st.composite
def answers(draw: st.DrawFn) -> tuple[Labels, Labels, int]:
    classes = draw(st.integers(2, 8))
    pairs = draw(
        st.lists(st.tuples(st.integers(0, classes - 1), st.integers(0, classes - 1)), min_size=1, max_size=60)
    )
    return ints(*(truth for truth, _ in pairs)), ints(*(guess for _, guess in pairs)), classes


def test_a_case_worked_by_hand() -> None:
    # class 0: 2 right of 3, none else taken for it; class 1: 1 right, 1 of class 0 taken for it; class 2
    # is there but never told; class 3 is nowhere
    truth, guess = ints(0, 0, 0, 1, 2), ints(0, 0, 1, 1, 1)
    assert confusion_matrix(truth, guess, 4).tolist() == [
        [2, 1, 0, 0],
        [0, 1, 0, 0],
        [0, 1, 0, 0],
        [0, 0, 0, 0],
    ]
    assert accuracy(truth, guess) == pytest.approx(3 / 5)
    # F1: 2*2/(2+3) = 0.8; 2*1/(3+1) = 0.5; 0; 0 by definition
    assert macro_f1(truth, guess, 4) == pytest.approx((0.8 + 0.5 + 0.0 + 0.0) / 4)
    assert class_recalls(truth, guess, 4) == pytest.approx([2 / 3, 1.0, 0.0, 0.0])


def test_rows_are_the_truth() -> None:
    assert confusion_matrix(ints(1), ints(0), 2).tolist() == [[0, 0], [1, 0]]


def test_an_absent_class_counts_as_zero_whether_predicted_or_not() -> None:
    assert macro_f1(ints(0, 0), ints(0, 0), 2) == 0.5
    assert macro_f1(ints(0, 0), ints(0, 0), 1) == 1.0


def test_no_images_give_an_empty_matrix_and_no_accuracy() -> None:
    assert confusion_matrix(ints(), ints(), 3).tolist() == [[0] * 3] * 3
    with pytest.raises(ValueError, match="equally long"):
        accuracy(ints(), ints())


@settings(deadline=None)
@given(answers())
def test_everything_agrees_with_scikit_learn(case: tuple[Labels, Labels, int]) -> None:
    truth, guess, classes = case
    labels = range(classes)
    np.testing.assert_array_equal(
        confusion_matrix(truth, guess, classes), reference.confusion_matrix(truth, guess, labels=labels)
    )
    assert accuracy(truth, guess) == pytest.approx(reference.accuracy_score(truth, guess))
    options = {"labels": labels, "zero_division": 0}
    expected = reference.f1_score(truth, guess, average="macro", **options)
    assert macro_f1(truth, guess, classes) == pytest.approx(expected)
    expected = reference.recall_score(truth, guess, average=None, **options)
    assert class_recalls(truth, guess, classes) == pytest.approx(expected)


@settings(deadline=None)
@given(answers())
def test_the_order_of_images_does_not_matter(case: tuple[Labels, Labels, int]) -> None:
    truth, guess, classes = case
    order = np.random.default_rng(len(truth)).permutation(len(truth))
    assert macro_f1(truth[order], guess[order], classes) == macro_f1(truth, guess, classes)


@pytest.mark.parametrize(
    ("truth", "guess", "reason"),
    [
        (ints(0, 3), ints(0, 0), "targets: 0 to 3, there are 3 classes"),
        (ints(0, 0), ints(0, -1), "predictions: -1 to 0, there are 3 classes"),
        (ints(0, 0), ints(0), "predictions: need a vector of 2 whole numbers"),
        (ints(0), np.array([0.0]), "predictions: need a vector of 1 whole numbers"),
        (ints(0).reshape(1, 1), ints(0), "targets: need a vector"),
    ],
)
def test_what_are_no_classes_is_refused(truth: Labels, guess: Labels, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        macro_f1(truth, guess, 3)


def test_no_classes_are_refused() -> None:
    with pytest.raises(ValueError, match="classes=0"):
        macro_f1(ints(), ints(), 0)
