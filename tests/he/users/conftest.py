import pytest

from fedpriv.he.users.keys import UserKeys
from fedpriv.he.users.sets import SETS


@pytest.fixture(scope="session")
def owner():
    """The keys of an owner by the name of a parameter set; the same ones whenever asked."""
    made: dict[str, UserKeys] = {}

    def find(name: str) -> UserKeys:
        if name not in made:
            made[name] = UserKeys.make(SETS[name])
        return made[name]

    yield find
    made.clear()


@pytest.fixture
def images(owner) -> UserKeys:
    return owner("images")


@pytest.fixture
def faces(owner) -> UserKeys:
    return owner("faces")


@pytest.fixture
def folder(images, tmp_path):
    """The files of an owner of images."""
    images.save(tmp_path)
    return tmp_path
