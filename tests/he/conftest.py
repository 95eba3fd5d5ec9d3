from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
import pytest

from fedpriv.he.keys import SecretKey, generate_key
from fedpriv.he.parameters import SealParameters
from tests.he.members import Party, party_in
from tests.he.parties import Federation, Founder, found

PARAMETERS = SealParameters(plain_modulus=2_199_023_288_321)
"""Of a bfv authority with 16 bits and 16 clients."""


@pytest.fixture(scope="session")
def parameters() -> SealParameters:
    return PARAMETERS


@pytest.fixture(scope="session")
def server() -> SimpleNamespace:
    """What a server knows of a bfv authority."""
    return SimpleNamespace(parameters=PARAMETERS)


@pytest.fixture(scope="session")
def secret_key() -> SecretKey:
    return generate_key(PARAMETERS)


@pytest.fixture(scope="session")
def federation(tmp_path_factory) -> Iterator[Founder]:
    """A federation by scheme, keys and options; equal arguments give the one that was made before."""
    made: dict[tuple, Federation] = {}

    def find(scheme: str, keys: str, **options) -> Federation:
        wanted = (scheme, keys, *sorted(options.items()))
        if wanted not in made:
            made[wanted] = found(tmp_path_factory.mktemp("keys"), scheme, keys, **options)
        return made[wanted]

    yield find
    made.clear()


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(7)


@pytest.fixture
def party(tmp_path) -> Party:
    """Three members of a committee that have not begun to make its key."""
    return party_in(tmp_path)
