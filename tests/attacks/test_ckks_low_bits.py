"""What floating point leaves in the last bits of flooded values."""

import numpy as np
import pytest

from fedpriv.attacks.ckks_low_bits import explained
from fedpriv.privacy.noise import SecureSource

PAIRS, FACTOR, ERROR = 4096, 2.0**-17, 2.0**-60


@pytest.fixture
def errors() -> np.ndarray:
    return np.random.default_rng(2).normal(0, ERROR, 2 * PAIRS)


def test_the_right_error_explains_every_answer_and_a_wrong_one_few(errors):
    answers = errors + FACTOR * SecureSource().normal(2 * PAIRS)
    assert explained(answers, errors, FACTOR) == 1
    assert explained(answers, errors[::-1].copy(), FACTOR) < 0.2


def test_answers_on_a_grid_are_explained_by_any_error(errors):
    grid = FACTOR * 2.0**-12
    answers = np.rint((errors + FACTOR * SecureSource().normal(2 * PAIRS)) / grid) * grid
    for candidate in (errors, errors[::-1].copy()):
        assert explained(answers, candidate, FACTOR, grid) > 0.995
