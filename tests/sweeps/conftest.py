"""Sweeps as a user starts them, for all tests of a module."""

import pytest

from tests.sweeps.commands import forks


@pytest.fixture(scope="module")
def sweep():
    with forks() as sweep:
        yield sweep
