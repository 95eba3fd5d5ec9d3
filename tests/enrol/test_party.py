"""A party's own folder: laid out as a run expects it, closed to others, and never overwritten."""

import os
import stat

import pytest

from fedpriv.enrol.party import card_file, make_party, parties_in
from fedpriv.errors import UserError
from fedpriv.he.cards import Card
from fedpriv.he.identity import SigningKey
from fedpriv.he.policy import Policy
from fedpriv.he.provision import (
    client_folder,
    enrolment_file,
    keyholder_folder,
    provision,
    signing_key_file,
)
from fedpriv.he.registry import build_codec

FOLDERS = {"client": client_folder, "holder": keyholder_folder}


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("role", FOLDERS)
def test_the_key_lies_where_a_run_looks_for_it_and_the_card_is_its(tmp_path, role):
    card = make_party(tmp_path / "keys", role, 1)
    key = SigningKey.load(signing_key_file(FOLDERS[role](tmp_path / "keys", 1)))
    assert (card.role, card.number, card.public) == (role, 1, key.public)
    assert Card.load(tmp_path / "keys" / f"{role}-1.card.json") == card


def test_folders_of_all_parties_laid_over_one_another_are_what_a_simulation_has(tmp_path):
    made = tmp_path / "simulation"
    made.mkdir(mode=0o700)
    codec = build_codec("bfv", 3, keys="committee", holders=2)
    provision(made, 3, codec, Policy("bfv", "committee", 2))
    for role, count in (("client", 3), ("holder", 2)):
        for number in range(count):
            make_party(tmp_path / "ours", role, number)
    cards = {
        card_file(tmp_path / "ours", r, n).name for r, c in (("client", 3), ("holder", 2)) for n in range(c)
    }
    assert set(files(tmp_path / "ours")) - cards == set(files(made)) - {enrolment_file(made).name}


@pytest.mark.parametrize("umask", [0o000, 0o002, 0o077])
def test_nobody_else_can_read_anything_whatever_the_umask(tmp_path, umask):
    before = os.umask(umask)
    try:
        make_party(tmp_path / "keys", "client", 0)
    finally:
        os.umask(before)
    places = [tmp_path / "keys", *(tmp_path / "keys").rglob("*")]
    assert {(each.is_dir(), stat.S_IMODE(each.stat().st_mode)) for each in places} == {
        (True, 0o700),
        (False, 0o600),
    }


def test_the_private_key_is_in_one_file_only(tmp_path):
    make_party(tmp_path / "keys", "client", 0)
    seed = (tmp_path / "keys" / "clients" / "0" / "signing.key").read_bytes()[16:48]
    assert (
        SigningKey.load(tmp_path / "keys" / "clients" / "0" / "signing.key")._key.private_bytes_raw() == seed
    )
    holding = [
        name for name, data in files(tmp_path / "keys").items() if seed in data or seed.hex().encode() in data
    ]
    assert holding == ["clients/0/signing.key"]


def test_two_parties_have_two_keys(tmp_path):
    cards = [make_party(tmp_path / name, "client", 0) for name in ("a", "b")]
    assert cards[0].public != cards[1].public


def test_a_party_that_is_there_is_left_alone(tmp_path):
    make_party(tmp_path / "keys", "client", 0)
    before = files(tmp_path / "keys")
    with pytest.raises(UserError, match=r"client-0\.card\.json: exists already"):
        make_party(tmp_path / "keys", "client", 0)
    assert files(tmp_path / "keys") == before


def test_one_interrupted_after_its_key_gets_the_card_of_that_key(tmp_path):
    card = make_party(tmp_path / "keys", "holder", 0)
    before = files(tmp_path / "keys")
    card_file(tmp_path / "keys", "holder", 0).unlink()
    assert make_party(tmp_path / "keys", "holder", 0) == card
    assert files(tmp_path / "keys") == before


def test_a_key_of_another_kind_in_its_place_is_neither_replaced_nor_taken(tmp_path):
    party = tmp_path / "keys" / "clients" / "0"
    for folder in (tmp_path / "keys", party.parent, party):
        folder.mkdir(mode=0o700)
    (party / "signing.key").write_bytes(b"mine")
    (party / "signing.key").chmod(0o600)
    with pytest.raises(UserError, match=r"signing\.key: not a signing key"):
        make_party(tmp_path / "keys", "client", 0)
    assert files(tmp_path / "keys") == {"clients/0/signing.key": b"mine"}


@pytest.mark.parametrize("mode", [0o755, 0o750, 0o711, 0o777])
def test_a_folder_that_others_may_enter_gets_no_key(tmp_path, mode):
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys").chmod(mode)
    with pytest.raises(UserError, match=rf"keys: mode {mode:04o} lets others in; run chmod 700"):
        make_party(tmp_path / "keys", "client", 0)
    assert not files(tmp_path / "keys")


def test_a_file_or_a_link_in_its_way_is_refused(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for name in ("file", "link"):
        with pytest.raises(UserError, match=rf"{name}: is no folder"):
            make_party(tmp_path / name, "client", 0)
    assert not files(tmp_path / "elsewhere")


def test_a_missing_parent_is_named(tmp_path):
    with pytest.raises(UserError, match=r"missing/keys: .*missing is missing; make it first"):
        make_party(tmp_path / "missing" / "keys", "client", 0)


@pytest.mark.parametrize("number", [-1, 100_000])
def test_a_number_that_nobody_could_enrol_makes_nothing(tmp_path, number):
    with pytest.raises(UserError, match=f"client {number}: numbers go from 0 to 99999"):
        make_party(tmp_path / "keys", "client", number)
    assert not list(tmp_path.iterdir())


def test_the_parties_of_a_folder_are_found_in_order_and_nothing_else_is_taken_for_one(tmp_path):
    keys = tmp_path / "keys"
    wanted = [("client", 2), ("client", 10), ("holder", 0)]
    for role, number in reversed(wanted):
        make_party(keys, role, number)
    for name in (
        "02",
        "x",
        "-1",
        "3",
        ".hidden",
        "\u0663",
    ):  # the last is a decimal digit, though no ASCII one
        (keys / "clients" / name).mkdir()
    (keys / "clients" / "4").touch()
    found = list(parties_in(keys))
    assert [(party.role, party.number) for party in found] == wanted
    assert [party.fingerprint for party in found] == [
        Card.load(card_file(keys, *each)).fingerprint for each in wanted
    ]
    assert list(parties_in(tmp_path)) == []
