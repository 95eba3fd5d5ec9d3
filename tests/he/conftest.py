import numpy as np
import pytest

from fedpriv.he.bfv import BFVCodec
from fedpriv.he.keys import SecretKey, generate_key

CLIENTS = 8


@pytest.fixture(scope="session")
def secret_key() -> SecretKey:
    return generate_key(BFVCodec(max_clients=CLIENTS).parameters)


@pytest.fixture(scope="session")
def client(secret_key) -> BFVCodec:
    return BFVCodec(max_clients=CLIENTS, secret_key=secret_key)


@pytest.fixture(scope="session")
def server() -> BFVCodec:
    return BFVCodec(max_clients=CLIENTS)


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(7)
