"""Accepting: a party is in it as itself, on terms that it was told, and nothing is written before."""

import shutil

import pytest

from fedpriv.enrol.accept import accept
from fedpriv.enrol.collect import collect
from fedpriv.enrol.shared import make_shared_key
from fedpriv.enrol.terms import run_for
from fedpriv.errors import UserError
from fedpriv.he.identity import Enrolment, SigningKey
from fedpriv.he.provision import enrolment_file, load_enrolment

AUTHORITY = ["secure=bfv", "secure.min_clients=2"]


@pytest.fixture
def plain(federation, tmp_path):
    """Three clients' folders and their enrolment."""
    parties = federation(3, 0)
    enrolment = collect([card for _, card in parties], ["secure=none"], None)
    enrolment.save(tmp_path / "sent.json")
    return [folder for folder, _ in parties], tmp_path / "sent.json", enrolment


@pytest.fixture
def authority(federation, tmp_path):
    """Two clients, a key holder with its key, and their enrolment."""
    *clients, (holder, card) = federation(2, 1)
    path, fingerprint = make_shared_key(holder, run_for(AUTHORITY, 2))
    enrolment = collect([*(each for _, each in clients), card], AUTHORITY, fingerprint)
    enrolment.save(tmp_path / "sent.json")
    return [folder for folder, _ in clients], holder, path, tmp_path / "sent.json"


def refused(*arguments, **options):
    with pytest.raises(UserError) as error:
        accept(*arguments, **options)
    return str(error.value)


def test_every_party_ends_with_the_same_enrolment(plain):
    folders, sent, enrolment = plain
    for folder in folders:
        assert accept(folder, sent) == enrolment
        assert load_enrolment(folder).digest == enrolment.digest
        assert enrolment_file(folder).stat().st_mode & 0o777 == 0o600


def test_an_enrolment_without_the_party_is_refused(plain, site):
    _, sent, _ = plain
    stranger, _ = site("client", 3)
    assert refused(stranger, sent) == f"{sent}: does not enrol client 3; send the coordinator your card"
    assert not enrolment_file(stranger).exists()


def test_an_enrolment_with_anothers_key_under_its_number_is_refused(plain, site):
    """What a coordinator does who wants to sign in the party's name."""
    folders, sent, enrolment = plain
    forged = Enrolment({**enrolment.clients, 1: SigningKey.generate().public}, {}, None, enrolment.policy)
    sent.unlink()
    forged.save(sent)
    assert "enrols client 1 under another key, of fingerprint " in refused(folders[1], sent)
    assert not enrolment_file(folders[1]).exists()
    accept(folders[0], sent)  # who is not touched cannot see it: that is what comparing digests is for
    assert load_enrolment(folders[0]).digest != enrolment.digest


def test_a_named_digest_must_be_its_own(plain):
    folders, sent, enrolment = plain
    assert "its digest is " in refused(folders[0], sent, "0" * 64)
    assert not enrolment_file(folders[0]).exists()
    accept(folders[0], sent, enrolment.digest.hex())


def test_one_in_place_is_never_replaced(plain, tmp_path):
    folders, sent, enrolment = plain
    accept(folders[0], sent)
    before = enrolment_file(folders[0]).stat()
    accept(folders[0], sent)
    other = Enrolment(dict(enrolment.clients), {}, None, run_policy("privacy=dp_sgd"))
    other.save(tmp_path / "other.json")
    assert "enrolment.json: is another enrolment; move it away first" in refused(
        folders[0], tmp_path / "other.json"
    )
    after = enrolment_file(folders[0]).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def run_policy(*overrides):
    from fedpriv.config.secure import policy_of

    return policy_of(run_for(["secure=none", *overrides]))


def test_a_folder_without_a_key_accepts_nothing(plain, tmp_path):
    (tmp_path / "empty").mkdir(mode=0o700)
    assert "empty: holds no party's key" in refused(tmp_path / "empty", plain[1])


def test_a_party_of_two_roles_must_be_enrolled_as_both(federation, tmp_path):
    from fedpriv.enrol.party import card_file, make_party

    folder = tmp_path / "both"
    cards = []
    for role, number in (("client", 0), ("holder", 1)):
        make_party(folder, role, number)
        cards.append(card_file(folder, role, number))
    others = federation(2, 1)
    terms = ["secure=bfv_committee", "secure.holders=2"]
    enrolment = collect([*cards, others[1][1], others[2][1]], terms, None)
    enrolment.save(tmp_path / "right.json")
    assert accept(folder, tmp_path / "right.json").digest == enrolment.digest
    enrolment_file(folder).unlink()
    wrong = Enrolment(dict(enrolment.clients), {**enrolment.keyholders, 1: SigningKey.generate().public})
    Enrolment(wrong.clients, wrong.keyholders, None, enrolment.policy).save(tmp_path / "wrong.json")
    assert "enrols holder 1 under another key" in refused(folder, tmp_path / "wrong.json")


def test_settings_that_it_does_not_admit_are_refused(federation, tmp_path):
    parties = federation(2, 0)
    collect([card for _, card in parties], ["secure=none", "privacy=dp_sgd"], None).save(
        tmp_path / "sent.json"
    )
    folder, sent = parties[0][0], tmp_path / "sent.json"
    assert "demands privacy.epsilon <= 8" in refused(
        folder, sent, overrides=["secure=none", "privacy=dp_sgd", "privacy.epsilon=9"]
    )
    assert "federation.clients=3: 2 are enrolled" in refused(folder, sent, overrides=["federation.clients=3"])
    assert not enrolment_file(folder).exists()
    accept(folder, sent, overrides=["secure=none", "privacy=dp_sgd", "privacy.epsilon=7"])


def test_the_shared_key_is_checked_and_put_in_place(authority):
    (first, second), holder, key, sent = authority
    for folder in (first, second, holder):
        accept(folder, sent, overrides=AUTHORITY, shared_key=key)
        assert enrolment_file(folder).exists()
    for number, folder in enumerate((first, second)):
        placed = folder / "clients" / str(number) / "shared.key"
        assert placed.read_bytes() == key.read_bytes()
        assert placed.stat().st_mode & 0o777 == 0o600


def test_it_may_come_later(authority):
    (folder, _), _, key, sent = authority
    accept(folder, sent)
    assert not (folder / "clients" / "0" / "shared.key").exists()
    accept(folder, sent, overrides=AUTHORITY, shared_key=key)
    assert (folder / "clients" / "0" / "shared.key").exists()


def test_another_shared_key_than_the_enrolled_one_is_refused(authority, tmp_path):
    (folder, _), holder, key, sent = authority
    key.unlink()
    make_shared_key(holder, run_for(AUTHORITY, 2))
    said = refused(folder, sent, overrides=AUTHORITY, shared_key=key)
    assert said == f"{key}: is not the key that was enrolled; ask the key holder for it"
    # also when somebody has copied it there by hand
    shutil.copy(key, folder / "clients" / "0" / "shared.key")
    assert "clients/0/shared.key: is not the key that was" in refused(folder, sent, overrides=AUTHORITY)
    assert not enrolment_file(folder).exists()


def test_a_shared_key_that_was_made_for_other_settings_or_is_none_is_refused(authority, tmp_path):
    (folder, _), _, key, sent = authority
    assert "made for other parameters" in refused(
        folder, sent, overrides=[*AUTHORITY, "secure.bits=12"], shared_key=key
    )
    junk = tmp_path / "junk"
    junk.mkdir(mode=0o700)
    (junk / "shared.key").write_bytes(b"no key")
    (junk / "shared.key").chmod(0o600)
    assert "shared.key: " in refused(folder, sent, overrides=AUTHORITY, shared_key=junk / "shared.key")
    (junk / "shared.key").rename(junk / "key")
    assert "rename it to shared.key" in refused(folder, sent, overrides=AUTHORITY, shared_key=junk / "key")
    assert not (folder / "clients" / "0" / "shared.key").exists()


def test_a_shared_key_that_others_may_read_is_refused(authority):
    (folder, _), _, key, sent = authority
    key.chmod(0o644)
    assert "mode 0644 lets others read the key" in refused(folder, sent, overrides=AUTHORITY, shared_key=key)


def test_a_shared_key_that_cannot_be_checked_is_refused(authority):
    (folder, _), _, key, sent = authority
    assert "is checked against the runs' settings" in refused(folder, sent, shared_key=key)


def test_a_shared_key_in_a_federation_that_shares_none_is_refused(plain, tmp_path):
    folders, sent, _ = plain
    assert "this federation shares no key" in refused(
        folders[0], sent, overrides=["secure=none"], shared_key=tmp_path / "shared.key"
    )


def test_a_folder_that_others_may_enter_accepts_nothing(plain):
    folders, sent, _ = plain
    folders[0].chmod(0o755)
    assert "mode 0755 lets others in; run chmod 700 on it" in refused(folders[0], sent)
    assert not enrolment_file(folders[0]).exists()
