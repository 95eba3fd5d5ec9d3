"""The shared key: made by key holder 0 only, and where there is one."""

import pytest

from fedpriv.config.secure import codec_of
from fedpriv.enrol.shared import make_shared_key
from fedpriv.enrol.terms import run_for
from fedpriv.errors import UserError
from fedpriv.he.codec import UpdateCodec
from fedpriv.he.identity import Enrolment


@pytest.mark.parametrize("scheme", ["bfv", "ckks"])
def test_the_key_fits_the_run_and_has_the_fingerprint_that_is_told(site, scheme):
    folder, _ = site("holder", 0)
    config = run_for([f"secure={scheme}", "federation.clients=3"])
    path, fingerprint = make_shared_key(folder, config)
    assert path == folder / "keyholders" / "0" / "shared.key"
    assert path.stat().st_mode & 0o777 == 0o600
    codec: UpdateCodec = codec_of(config)
    enrolled = codec.with_public_key(b"", bytes(16), Enrolment({}, {}, fingerprint))
    assert codec.holder(path.parent).digest == enrolled.digest


def test_it_is_never_replaced(site):
    folder, _ = site("holder", 0)
    config = run_for(["secure=bfv"])
    path, _ = make_shared_key(folder, config)
    before = path.read_bytes()
    with pytest.raises(UserError, match=r"shared\.key: exists already"):
        make_shared_key(folder, config)
    assert path.read_bytes() == before


@pytest.mark.parametrize("scheme", ["none", "bfv_committee"])
def test_where_nothing_is_shared_there_is_none_to_make(site, scheme):
    folder, _ = site("holder", 0)
    with pytest.raises(UserError, match="share no key; there is none to make"):
        make_shared_key(folder, run_for([f"secure={scheme}"]))


@pytest.mark.parametrize("party", [("client", 0), ("holder", 1)])
def test_nobody_but_key_holder_0_makes_it(site, party):
    folder, _ = site(*party)
    with pytest.raises(UserError, match="has no key holder 0, who makes this key"):
        make_shared_key(folder, run_for(["secure=bfv"]))
    assert not list(folder.rglob("shared.key"))
