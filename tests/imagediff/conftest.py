"""One server process and one key pair for the tests of this folder."""

import numpy as np
import pytest

from fedpriv.he.users.keys import UserKeys
from fedpriv.he.users.sets import SETS
from fedpriv.imagediff.client import DifferenceClient
from fedpriv.imagediff.local import local_server


@pytest.fixture(scope="package")
def keys():
    return UserKeys.make(SETS["images"])


@pytest.fixture(scope="package")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("imagediff") / "store"


@pytest.fixture(scope="package")
def server(store):
    with local_server(store) as url:
        yield url


@pytest.fixture
def client(server, keys):
    with DifferenceClient(server, keys) as connected:
        yield connected


@pytest.fixture
def picture():
    """Makes pictures of noise, which no compression or repetition hides."""
    generator = np.random.default_rng(5)
    return lambda *shape: generator.integers(0, 256, shape, dtype=np.uint8)
