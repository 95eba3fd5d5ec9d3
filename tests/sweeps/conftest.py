"""Sweeps as a user starts them, for all tests."""

from collections.abc import Callable

import pytest

from tests.sweeps import commands


@pytest.fixture(scope="session")
def sweep() -> Callable[..., commands.Done]:
    return commands.sweep
