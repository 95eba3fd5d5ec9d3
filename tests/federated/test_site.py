"""What a client process keeps of its clients' data."""

import pytest

from fedpriv.config.builders import build_site, to_json
from fedpriv.federated import site as module


@pytest.fixture
def site(tiny):
    config = tiny("seed=77")
    config.run_id = "00" * 16
    made = build_site(to_json(config))
    made._data.clear()
    made._bytes_held = 0
    return made


def test_a_clients_data_is_kept_for_the_next_round(site):
    assert site.data(1) is site.data(1)


def test_what_is_kept_is_bounded_and_those_used_last_stay(site, monkeypatch):
    each = site.data(0).bytes_held
    assert each > 0
    site._data.clear()
    site._bytes_held = 0
    monkeypatch.setattr(module, "MOST_BYTES", 2 * each)
    first = site.data(0)
    site.data(1)
    assert site.data(0) is first  # used again, so client 1 has to go
    site.data(2)
    assert site.data(0) is first
    assert sorted(site._data) == [0, 2]
    assert site._bytes_held == 2 * each == sum(data.bytes_held for data in site._data.values())


def test_one_client_alone_may_exceed_the_bound(site, monkeypatch):
    monkeypatch.setattr(module, "MOST_BYTES", 1)
    assert len(site.data(3)) == len(site.shares[3])
    site.data(2)
    assert list(site._data) == [2]
