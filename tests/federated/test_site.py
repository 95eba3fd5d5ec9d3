"""What a client process keeps of its clients' data and keys."""

import pytest

from fedpriv.config.as_json import to_json
from fedpriv.config.parties import build_site
from fedpriv.errors import UserError
from fedpriv.federated import site as module
from fedpriv.he import provision
from fedpriv.he.codec import KeyRefused
from fedpriv.he.identity import SigningKey
from fedpriv.run_keys import key_folder


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


@pytest.fixture
def keyed(tiny):
    """Make a site whose clients have keys, under the given overrides."""
    from contextlib import ExitStack

    with ExitStack() as stack:

        def make(*overrides):
            config = tiny(*overrides)
            config.run_id = "00" * 16
            config.secure.key_folder = stack.enter_context(key_folder(config))
            return build_site(to_json(config))

        yield make


def test_no_key_is_read_before_it_is_needed_and_each_only_once(keyed, monkeypatch):
    read = []
    load = SigningKey.load
    monkeypatch.setattr(SigningKey, "load", lambda path: (read.append(path), load(path))[1])
    site = keyed("secure=bfv")
    assert (read, site._keyed) == ([], {})
    first = site.signer(2)
    assert site.signer(2) is first
    assert read == [provision.signing_key_file(provision.client_folder(site.key_folder, 2))]


def test_each_client_signs_with_its_own_key(keyed):
    site = keyed()
    assert len({site.signer(client).public for client in range(4)}) == 4


def test_the_clients_of_a_process_keep_one_copy_of_a_key_that_they_share(keyed):
    site = keyed("secure=bfv")
    assert site.codec_for(0, None) is site.codec_for(3, None)
    assert site.codec_for(0, None).digest != site.codec.digest


def test_a_client_without_keys_is_told_so(site):
    with pytest.raises(UserError, match=r"secure\.key_folder: is missing"):
        site.signer(0)


def test_a_joint_key_that_is_missing_or_no_key_is_refused(keyed):
    site = keyed("secure=bfv_committee")
    for key, cause in ((None, "no_public_key"), (b"junk", "malformed")):
        with pytest.raises(KeyRefused) as caught:
            site.codec_for(1, key)
        assert caught.value.cause == cause


def test_a_joint_key_is_verified_once_per_process_and_again_when_it_changes(keyed, monkeypatch):
    site = keyed("secure=bfv_committee")
    checked = []
    monkeypatch.setattr(
        type(site.codec),
        "with_public_key",
        lambda self, data, run_id, enrolment: checked.append(data) or self,
    )
    for key in (b"one", b"one", b"one", b"two", b"two"):
        site.codec_for(len(checked) % 4, key)
    assert checked == [b"one", b"two"]
