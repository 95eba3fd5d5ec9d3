"""One key pair for all tests of tables: making one takes a moment."""

import pytest

from fedpriv.he.users.keys import UserKeys
from fedpriv.he.users.sets import parameter_set


@pytest.fixture(scope="session")
def owner() -> UserKeys:
    return UserKeys.make(parameter_set("table"))
