import copy
import os
import pickle
import stat

import pytest
from tenseal import sealapi

from fedpriv.errors import UserError
from fedpriv.he.keys import SecretKey, generate_key, load_key, save_key
from fedpriv.he.parameters import SealParameters, seal_context


@pytest.fixture
def key_file(secret_key, tmp_path):
    path = tmp_path / "federation.key"
    save_key(secret_key, path)
    return path


def test_a_loaded_key_reads_what_the_saved_one_encrypted(parameters, secret_key, key_file):
    loaded, ciphertext, plaintext = load_key(key_file, parameters), sealapi.Ciphertext(), sealapi.Plaintext()
    sealapi.Encryptor(seal_context(parameters), secret_key._key).encrypt_symmetric(
        sealapi.Plaintext("7x^4095 + 2"), ciphertext
    )
    loaded.decryptor().decrypt(ciphertext, plaintext)
    assert plaintext.to_string() == "7x^4095 + 2"
    assert loaded.fingerprint == secret_key.fingerprint


def test_the_file_is_private_and_nothing_else_is_left(key_file):
    assert stat.S_IMODE(key_file.stat().st_mode) == 0o600
    assert list(key_file.parent.iterdir()) == [key_file]


def test_the_file_is_private_whatever_the_umask(secret_key, tmp_path):
    before = os.umask(0o777)
    try:
        save_key(secret_key, tmp_path / "a")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o600


def test_an_existing_file_is_never_replaced(secret_key, tmp_path):
    path = tmp_path / "mine"
    path.write_bytes(b"precious")
    with pytest.raises(UserError, match="exists already"):
        save_key(secret_key, path)
    assert path.read_bytes() == b"precious"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_appears_during_the_writing_is_not_replaced(secret_key, tmp_path, monkeypatch):
    path = tmp_path / "mine"
    fsync = os.fsync

    def racing_fsync(descriptor):
        path.write_bytes(b"precious")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", racing_fsync)
    with pytest.raises(UserError, match="exists already"):
        save_key(secret_key, path)
    assert path.read_bytes() == b"precious"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_not_there_is_named(secret_key, tmp_path):
    with pytest.raises(UserError, match="cannot write the key"):
        save_key(secret_key, tmp_path / "nowhere" / "key")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o610])
def test_a_file_that_others_may_access_is_refused(key_file, parameters, mode):
    key_file.chmod(mode)
    with pytest.raises(UserError, match="chmod 600"):
        load_key(key_file, parameters)


def test_a_key_for_other_parameters_is_refused(key_file):
    with pytest.raises(UserError, match="made for other parameters"):
        load_key(key_file, SealParameters(40961))


@pytest.mark.parametrize("keep", [0, 7, 8, 50, 100, -1])
def test_a_shortened_file_is_refused(key_file, parameters, keep):
    key_file.write_bytes(key_file.read_bytes()[:keep])
    with pytest.raises(UserError, match="key file"):
        load_key(key_file, parameters)


@pytest.mark.parametrize("offset", [0, 8, 12, 16, 48, 64, 72, 500, -1])
def test_a_changed_byte_anywhere_is_refused(key_file, parameters, offset):
    data = bytearray(key_file.read_bytes())
    data[offset] ^= 1
    key_file.write_bytes(data)
    with pytest.raises(UserError):
        load_key(key_file, parameters)


def test_a_file_that_is_too_long_is_refused_before_it_is_read(key_file, parameters):
    with key_file.open("ab") as file:
        file.truncate(10**9)
    with pytest.raises(UserError, match="at most"):
        load_key(key_file, parameters)


def test_folders_pipes_and_missing_files_are_refused(tmp_path, parameters):
    os.mkfifo(tmp_path / "pipe", 0o600)
    for name in (".", "pipe", "missing"):
        with pytest.raises(UserError):
            load_key(tmp_path / name, parameters)


def test_a_key_shows_neither_itself_nor_lets_itself_be_copied(secret_key):
    assert repr(secret_key) == str(secret_key) == f"SecretKey(fingerprint={secret_key.fingerprint})"
    for copying in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="SecretKey"):
            copying(secret_key)


def test_fingerprints_name_parameters_key_id_and_secret(parameters, secret_key):
    other = generate_key(parameters)
    same = SecretKey(parameters, secret_key.key_id, secret_key._key)
    assert same.fingerprint == secret_key.fingerprint
    swapped = SecretKey(parameters, secret_key.key_id, other._key)
    renamed = SecretKey(parameters, other.key_id, secret_key._key)
    assert len({key.fingerprint for key in (secret_key, other, swapped, renamed)}) == 4
    assert len(secret_key.fingerprint) == 32
