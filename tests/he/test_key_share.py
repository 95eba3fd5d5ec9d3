"""A holder's share of a committee's key, and its file."""

import copy
import hashlib
import pickle
import struct

import numpy as np
import pytest

from fedpriv.errors import UserError
from fedpriv.he.key_files import forget_share
from fedpriv.he.key_share import load_share, save_share
from fedpriv.he.parameters import SealParameters
from fedpriv.he.registry import build_codec
from fedpriv.he.selective import select
from tests.he.members import HOLDERS
from tests.he.parties import RUN, ceremony, new_run


def test_shares_and_members_neither_show_nor_copy_their_secrets(party):
    ceremony(party.members)
    share = load_share(party.folders[0], party.parameters, HOLDERS)
    assert repr(share) == str(share) == f"KeyShare(number=0, digest={share.digest.hex()})"
    assert "secret" not in repr(party.members[0])
    for copying in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="KeyShare"):
            copying(share)
    for copying in (pickle.dumps, copy.deepcopy):
        with pytest.raises(TypeError, match="KeyShare"):
            copying(party.codec.holder(party.folders[0]))
    with pytest.raises(TypeError, match="SigningKey"):
        pickle.dumps(party.members[0])


@pytest.fixture
def share_file(party):
    ceremony(party.members)
    return party.folders[0] / "share.key"


def loads(share_file, holders=HOLDERS, parameters=None):
    parameters = parameters or build_codec("bfv", 16, keys="committee")._encoding.parameters
    return load_share(share_file.parent, parameters, holders)


@pytest.mark.parametrize("offset", [0, 8, 12, 28, 32, 40, 70, 110, 5000, -33, -1])
def test_a_changed_byte_anywhere_is_refused(share_file, offset):
    data = bytearray(share_file.read_bytes())
    data[offset] ^= 1
    share_file.write_bytes(data)
    with pytest.raises(UserError, match=r"share\.key: damaged"):
        loads(share_file)


def test_a_share_of_something_else_is_refused(share_file, tmp_path):
    with pytest.raises(UserError, match="another committee"):
        loads(share_file, holders=2)
    other = SealParameters(1_099_511_922_689, 8192, (56, 56, 56))
    with pytest.raises(UserError, match="other parameters"):
        loads(share_file, parameters=other)
    with pytest.raises(UserError, match="share"):
        load_share(tmp_path / "nowhere", other, HOLDERS)
    data = share_file.read_bytes()
    for bad in (data[:-1], data[:50], b""):
        share_file.write_bytes(bad)
        with pytest.raises(UserError, match="damaged"):
            loads(share_file)


@pytest.mark.parametrize(("magic", "version"), [(b"FPSHARE\0", 2), (b"FPSECKEY", 1)])
def test_another_version_is_named_as_such(share_file, magic, version):
    content = struct.pack("<8sI", magic, version) + share_file.read_bytes()[12:-32]
    share_file.write_bytes(content + hashlib.sha256(content).digest())
    with pytest.raises(UserError, match="version"):
        loads(share_file)


def test_a_share_that_others_may_read_is_refused(share_file):
    share_file.chmod(0o640)
    with pytest.raises(UserError, match="chmod 600"):
        loads(share_file)


def test_a_share_serves_its_own_run_and_holder_only(party):
    """As it is, and as the key holder of a codec and of a selective one around it."""
    ceremony(party.members)
    other = new_run()
    for number, folder in enumerate(party.folders):
        share, holder = load_share(folder, party.parameters, HOLDERS), party.codec.holder(folder)
        assert (share.run_id, share.number) == (RUN, number)
        for one in (share, holder, select(party.codec, np.array([True, False])).holder(folder)):
            one.require(RUN, number)
            with pytest.raises(UserError) as refusal:
                one.require(other, number)
            assert str(refusal.value) == (
                f"share.key of key holder {number}: is that of key holder {number} for run {RUN.hex()}, and "
                f"this is run {other.hex()}; start the run again, which makes a new one"
            )
            with pytest.raises(UserError, match=f"key holder {number + 1}: is that of key holder {number} "):
                one.require(RUN, number + 1)


def test_a_folder_where_others_could_put_another_share_is_refused(share_file):
    share_file.parent.chmod(0o770)
    with pytest.raises(
        UserError, match=r"0: mode 0770 lets others put another share\.key there; run chmod go-w"
    ):
        loads(share_file)


def test_a_share_that_cannot_be_written_leaves_the_one_before_it(party, share_file, monkeypatch):
    before = share_file.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fchmod", full)
        with pytest.raises(UserError, match="No space left"):
            save_share(share_file.parent, party.other(run_id=bytes(16)), 0, bytes(32), bytes(8))
    assert share_file.read_bytes() == before
    save_share(share_file.parent, party.other(run_id=bytes(16)), 0, bytes(32), bytes(8))
    assert share_file.read_bytes() != before


LEFT = ("share.key", ".share.key.0123456789abcdef", "00ff.share.draft", ".00ff.share.draft.0123456789abcdef")


def test_forgetting_a_share_leaves_nothing_of_it_not_even_what_a_kill_left(tmp_path):
    others = ("signing.key", "transcript.jsonl", "shared.key")
    for name in (*LEFT, *others):
        (tmp_path / name).write_bytes(b"secret")
    forget_share(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == set(others)
    forget_share(tmp_path)


def test_a_new_run_removes_what_a_kill_left_of_another(party):
    """All but the finished share, which goes when the new one is complete."""
    folder = party.folders[0]
    for name in LEFT:
        (folder / name).write_bytes(b"secret")
    party.members[0].step("commit", [])
    left = {path.name for path in folder.iterdir()} & set(LEFT)
    assert left == {"share.key"}
