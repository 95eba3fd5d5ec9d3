"""One constellation for the tests of a module: to start one takes longer than most tests."""

from collections.abc import Iterator

import numpy as np
import pytest

from fedpriv.relays.plan import Plan
from tests.relays.running import Running


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("relays") / "constellation"
    with Running(folder, Plan(adversary=True, allow_plain=True, clients=3)) as started:
        yield started


@pytest.fixture
def eyes() -> list[np.ndarray]:
    """Pictures of several sizes, smooth so that models do not only see noise."""
    generator = np.random.default_rng(7)
    sizes = [(36, 60), (36, 60), (64, 64), (48, 48), (8, 8), (20, 90)]
    return [
        np.kron(generator.integers(0, 256, (4, 4), dtype=np.uint8), np.ones((23, 23), np.uint8))[
            :h, :w
        ].copy()
        for h, w in sizes
    ]
