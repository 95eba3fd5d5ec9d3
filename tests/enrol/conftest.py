from collections.abc import Callable
from pathlib import Path

import pytest

from fedpriv.enrol.party import card_file, make_party

Site = tuple[Path, Path]
"""A party's key folder, and its card."""


@pytest.fixture
def site(tmp_path: Path) -> Callable[..., Site]:
    """Make a party's folder and card; under another name for another key."""

    def make(role: str, number: int, name: str = "") -> Site:
        folder = tmp_path / (name or f"{role}{number}")
        make_party(folder, role, number)
        return folder, card_file(folder, role, number)

    return make


@pytest.fixture
def federation(site: Callable[..., Site]) -> Callable[..., list[Site]]:
    """Make so many clients and so many key holders."""

    def make(clients: int, holders: int) -> list[Site]:
        parties = [("client", number) for number in range(clients)]
        parties += [("holder", number) for number in range(holders)]
        return [site(role, number) for role, number in parties]

    return make
