"""The key folder: what a simulation gets, and every way in which a folder of the user's can be wrong."""

import os
import stat

import pytest

from fedpriv.errors import UserError
from fedpriv.he.identity import Enrolment, SigningKey
from fedpriv.he.key_files import write_private
from fedpriv.he.policy import Policy
from fedpriv.he.provision import (
    client_folder,
    enrolment_file,
    enrolment_for,
    keyholder_folder,
    load_enrolment,
    provision,
    require,
    signing_key_file,
    transcript_file,
)
from fedpriv.he.registry import build_codec
from fedpriv.he.transcript import Transcript

CODECS = {
    "plain": {"scheme": "plain"},
    "authority": {"scheme": "bfv"},
    "committee": {"scheme": "bfv", "keys": "committee", "holders": 2},
}

POLICIES = {
    "plain": Policy("plain", "authority", 0),
    "authority": Policy("bfv", "authority", 1),
    "committee": Policy("bfv", "committee", 2),
}


def policy_for(codec):
    return next(policy for policy in POLICIES.values() if policy.holders == codec.holders)


@pytest.fixture(params=CODECS)
def codec(request):
    return build_codec(max_clients=3, **CODECS[request.param])


@pytest.fixture
def authority():
    return build_codec(max_clients=3, **CODECS["authority"])


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "keys"
    made.mkdir(mode=0o700)
    return made


def test_what_is_provisioned_is_what_is_required(folder, codec):
    provision(folder, 3, codec, policy_for(codec))
    require(folder, 3, codec, policy_for(codec))


def test_everybody_is_enrolled_under_its_own_key(folder, codec):
    provision(folder, 3, codec, policy_for(codec))
    enrolment = Enrolment.load(enrolment_file(folder))
    assert sorted(enrolment.clients) == [0, 1, 2]
    assert sorted(enrolment.keyholders) == list(range(codec.holders))
    for number, public in enrolment.clients.items():
        assert SigningKey.load(signing_key_file(client_folder(folder, number))).public == public
    for number, public in enrolment.keyholders.items():
        assert SigningKey.load(signing_key_file(keyholder_folder(folder, number))).public == public


def test_nobody_else_can_read_anything_whatever_the_umask(folder, codec):
    before = os.umask(0)
    try:
        provision(folder, 3, codec, policy_for(codec))
    finally:
        os.umask(before)
    modes = {(path.is_dir(), stat.S_IMODE(path.stat().st_mode)) for path in folder.rglob("*")}
    assert modes == {(True, 0o700), (False, 0o600)}


def test_two_folders_have_no_key_in_common(tmp_path, codec):
    seen = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir(mode=0o700)
        provision(tmp_path / name, 3, codec, policy_for(codec))
        seen.append({path.read_bytes() for path in (tmp_path / name).rglob("*.key")})
    assert seen[0].isdisjoint(seen[1])


def test_clients_and_holder_of_an_authority_share_one_key(folder, authority):
    provision(folder, 3, authority, policy_for(authority))
    files = [client_folder(folder, number) / "shared.key" for number in range(3)]
    files.append(keyholder_folder(folder, 0) / "shared.key")
    assert len({file.stat().st_ino for file in files}) == 1


def test_a_committee_has_no_key_before_its_members_make_one(folder):
    provision(folder, 3, build_codec(max_clients=3, **CODECS["committee"]), POLICIES["committee"])
    assert {path.name for path in folder.rglob("*.key")} == {"signing.key"}


def test_a_folder_that_holds_keys_already_is_left_alone(folder, codec):
    provision(folder, 3, codec, policy_for(codec))
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises((UserError, FileExistsError)):
        provision(folder, 3, codec, policy_for(codec))
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def _other_signer(folder):
    path = signing_key_file(client_folder(folder, 1))
    path.unlink()
    SigningKey.generate().save(path, durable=False)


def _other_shared_key(folder):
    codec = build_codec(max_clients=3, **CODECS["authority"])
    path = client_folder(folder, 2) / "shared.key"
    path.unlink()
    codec.make_shared_key(path)


WRONG = {
    "no enrolment": (
        lambda folder: enrolment_file(folder).unlink(),
        r"enrolment\.json: cannot read the file: No such file",
    ),
    "a damaged enrolment": (
        lambda folder: enrolment_file(folder).write_text("{"),
        r"enrolment\.json: is no enrolment",
    ),
    "no signing key": (
        lambda folder: signing_key_file(client_folder(folder, 1)).unlink(),
        r"clients/1/signing\.key: cannot read the key: No such file",
    ),
    "no signing key of the holder": (
        lambda folder: signing_key_file(keyholder_folder(folder, 0)).unlink(),
        r"keyholders/0/signing\.key: cannot read the key: No such file",
    ),
    "another's signing key": (_other_signer, r"clients/1/signing\.key: is not the key that was enrolled"),
    "a signing key that others read": (
        lambda folder: signing_key_file(client_folder(folder, 0)).chmod(0o640),
        r"clients/0/signing\.key: mode 0640 lets others read the key",
    ),
    "no shared key": (
        lambda folder: (client_folder(folder, 2) / "shared.key").unlink(),
        r"clients/2/shared\.key: cannot read the key",
    ),
    "a damaged transcript": (
        lambda folder: write_private(
            transcript_file(keyholder_folder(folder, 0)), b"no line\n", durable=False
        ),
        r"keyholders/0/transcript\.jsonl",
    ),
    "another shared key": (_other_shared_key, r"clients/2/shared\.key: is not the key that was"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_with_a_folder_is_one_line_that_names_the_file(folder, authority, name):
    spoil, said = WRONG[name]
    provision(folder, 3, authority, policy_for(authority))
    spoil(folder)
    with pytest.raises(UserError, match=said) as caught:
        require(folder, 3, authority, policy_for(authority))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("clients", [2, 4])
def test_a_folder_for_another_federation_is_refused(folder, authority, clients):
    provision(folder, 3, authority, POLICIES["authority"])
    with pytest.raises(UserError, match=r"enrolment\.json: enrols 3 clients, the run has \d"):
        require(folder, clients, authority, POLICIES["authority"])


def test_a_folder_whose_holders_are_not_the_codecs_is_refused(folder, authority):
    provision(folder, 3, authority, POLICIES["authority"])
    committee = build_codec(max_clients=3, **CODECS["committee"])
    with pytest.raises(UserError, match=r"enrolment\.json: enrols 1 keyholders, the run has 2"):
        require(folder, 3, committee, POLICIES["authority"])


def test_a_folder_for_other_terms_is_refused_before_any_key_is_read(folder, authority):
    agreed = Policy("bfv", "authority", 1, min_clients=3)
    provision(folder, 3, authority, agreed)
    for key in folder.rglob("*.key"):
        key.unlink()
    for load in (
        lambda offered: require(folder, 3, authority, offered),
        lambda offered: enrolment_for(folder, offered),
    ):
        with pytest.raises(UserError) as refused:
            load(Policy("bfv", "authority", 1, min_clients=2))
        assert str(refused.value) == (
            f"{enrolment_file(folder)}: the enrolment demands secure.min_clients >= 3, the run's "
            "configuration says 2; run as agreed, or enrol everybody anew on other terms"
        )
    assert enrolment_for(folder, agreed).policy == agreed


@pytest.mark.parametrize("load", [load_enrolment, lambda folder: enrolment_for(folder, POLICIES["plain"])])
@pytest.mark.parametrize("mode", [0o664, 0o646, 0o620, 0o602])
def test_an_enrolment_that_others_may_write_is_refused(folder, load, mode):
    """Anybody could enrol himself."""
    path = enrolment_file(folder)
    provision(folder, 3, build_codec(max_clients=3, **CODECS["plain"]), POLICIES["plain"])
    for fine in (0o600, 0o644, 0o444):
        path.chmod(fine)
        assert sorted(load(folder).clients) == [0, 1, 2]
    path.chmod(mode)
    with pytest.raises(UserError) as refused:
        load(folder)
    assert str(refused.value) == (
        f"{path}: mode {mode:04o} lets others put another enrolment.json there; run chmod go-w on it"
    )


@pytest.mark.parametrize("load", [load_enrolment, lambda folder: enrolment_for(folder, POLICIES["plain"])])
@pytest.mark.parametrize("mode", [0o770, 0o707, 0o1777])
def test_an_enrolment_in_a_folder_that_others_may_write_is_refused_sticky_or_not(folder, load, mode):
    provision(folder, 3, build_codec(max_clients=3, **CODECS["plain"]), POLICIES["plain"])
    folder.chmod(0o755)
    load(folder)
    folder.chmod(mode)
    with pytest.raises(
        UserError, match=rf"keys: mode {mode:04o} lets others put another enrolment\.json there"
    ):
        load(folder)


def test_a_party_whose_folder_others_may_write_is_refused(folder, authority):
    provision(folder, 3, authority, POLICIES["authority"])
    for party in (client_folder(folder, 1), keyholder_folder(folder, 0)):
        party.chmod(0o730)
        with pytest.raises(UserError, match=rf"{party}: mode 0730 lets others .* run chmod go-w on it"):
            require(folder, 3, authority, POLICIES["authority"])
        party.chmod(0o700)
    require(folder, 3, authority, POLICIES["authority"])


@pytest.mark.parametrize("umask", [0o000, 0o002])
def test_what_is_provisioned_is_accepted_whatever_the_umask(folder, authority, umask):
    before = os.umask(umask)
    try:
        provision(folder, 3, authority, POLICIES["authority"])
        require(folder, 3, authority, POLICIES["authority"])
    finally:
        os.umask(before)


def test_a_link_in_the_place_of_a_transcript_names_where_it_is(folder, authority, tmp_path):
    """A run that makes its keys in memory keeps its transcripts on disk so."""
    provision(folder, 3, authority, POLICIES["authority"])
    party, elsewhere = keyholder_folder(folder, 0), tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    assert transcript_file(party) == party / "transcript.jsonl"
    (party / "transcript.jsonl").symlink_to(elsewhere / "holder-0.jsonl")
    path, signer = transcript_file(party), SigningKey.load(signing_key_file(party))
    assert path == elsewhere / "holder-0.jsonl"
    assert Transcript(path, signer).claim(bytes(16), 1, [0], [b""])
    assert not Transcript(transcript_file(party), signer).claim(bytes(16), 1, [0], [b""])
    assert sorted(file.name for file in elsewhere.iterdir()) == ["holder-0.jsonl", "holder-0.jsonl.head"]
    require(folder, 3, authority, POLICIES["authority"])
    path.write_bytes(b"no line\n")
    with pytest.raises(UserError, match=r"holder-0\.jsonl: line 1: damaged"):
        require(folder, 3, authority, POLICIES["authority"])


def test_a_policy_for_other_holders_than_the_codecs_enrols_nobody(folder, authority):
    with pytest.raises(UserError, match=r"policy\.holders=2: 1 key holders are enrolled"):
        provision(folder, 3, authority, POLICIES["committee"])
    assert not enrolment_file(folder).exists()
