"""One gallery of five people for the tests of a module that leave it as it is."""

from collections.abc import Iterator

import pytest

from tests.faces.running import Running, faces

PEOPLE = {f"person {number}": [number] for number in range(5)}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    started = Running(tmp_path_factory.mktemp("faces") / "all", faces(40), budget=500)
    started.enrol(PEOPLE)
    yield started
    started.stop()
